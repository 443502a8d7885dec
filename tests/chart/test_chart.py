"""The chart as a whole: it renders with every set of values, and agrees with the code that it installs."""

import base64
import gzip
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter
from tercet_gateway.settings import Limits, MediaLimits, Settings, Timeouts, parse_settings
from tercet_operator.cluster import CHILDREN, PATHS
from tercet_operator.resources.naming import Owner
from tercet_operator.resources.protection import build_network_policy
from tercet_operator.settings import PREFIX, OperatorSettings
from tercet_wire.names import (
    API_GROUP,
    GATEWAY_METRICS_PORT,
    GATEWAY_PORT,
    LABEL_MANAGED_BY,
    LABEL_STAGE,
    MANAGER,
)

from tests.chart.rendering import CHART, CI_VALUES, NAMESPACE, ROOT, ask, find, iter_pods, render, run

by_values = pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
VALUE = re.compile(r"`((?:operator|gateway|monitoring|crds|images|tests)\.[A-Za-z_.]*[A-Za-z_])")
RELEASE_BYTES = 1024 * 1024
"""What Kubernetes takes as a Secret, and so Helm as a release."""


@by_values
def test_lint_finds_nothing(values: Path) -> None:
    """Strictly, for every set of values."""
    run("helm", "lint", "--strict", CHART, "--values", values)


def test_every_template_does_what_its_tests_say() -> None:
    """helm-unittest over tests/*_test.yaml."""
    run("helm-unittest", "--strict", CHART)


def test_every_template_has_a_test() -> None:
    """Each file below templates/ that makes an object is named in one of the suites."""
    suites = "".join(path.read_text() for path in (CHART / "tests").glob("*_test.yaml"))
    templates = (path.relative_to(CHART / "templates") for path in (CHART / "templates").rglob("*.yaml"))
    assert [str(name) for name in templates if str(name) not in suites] == []


def test_the_readme_is_current() -> None:
    """hack/chart_readme.py would write what is there."""
    subprocess.run([sys.executable, ROOT / "hack" / "chart_readme.py", "--check"], check=True)


def test_every_value_is_explained() -> None:
    """Each leaf of values.yaml stands in the README, itself or as part of a key above it."""
    page = (CHART / "README.md").read_text()
    leaves = iter_leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    missing = [
        ".".join(path)
        for path in leaves
        if not any(f"| `{'.'.join(path[:end])}` |" in page for end in range(len(path), 0, -1))
    ]
    assert missing == []


def iter_leaves(values: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(values, dict) or not values:
        return [path]
    return [leaf for key, value in values.items() for leaf in iter_leaves(value, (*path, key))]


def test_versions_agree() -> None:
    """The chart installs the images of this tree."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_a_release_fits_into_its_secret() -> None:
    """With the resource in it, and with room for three times as much."""
    files = sorted(path for path in CHART.rglob("*") if path.is_file())
    release = b"".join(path.read_bytes() for path in files) + json.dumps(render()).encode()
    assert len(base64.b64encode(gzip.compress(release))) < RELEASE_BYTES / 4


@by_values
def test_nothing_looks_like_a_child_of_an_omnideployment(values: Path) -> None:
    """The operator would take it for its own."""
    labels = [each["metadata"].get("labels", {}) for each in render(values)]
    assert [each for each in labels if each[LABEL_MANAGED_BY] != "Helm" or LABEL_STAGE in each] == []


@by_values
def test_every_pod_is_restricted(values: Path) -> None:
    """What Pod Security's restricted level asks for, and a read-only file system."""
    pods = list(iter_pods(render(values)))
    assert len(pods) == 3
    for pod in pods:
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


# --- what the operator is told ------------------------------------------------------------------


def read_environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    deployment = find(objects, "Deployment", "tercet-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "of-the-pod") for each in container["env"]}


def test_the_operator_gets_every_setting() -> None:
    """And none that it does not have."""
    names = {PREFIX + field.upper() for field in OperatorSettings.model_fields}
    assert set(read_environment(render())) == names


@by_values
def test_the_operator_can_read_its_settings(values: Path) -> None:
    """Whatever the values say."""
    settings = OperatorSettings.from_environment(read_environment(render(values)))
    assert settings.gateway_service == f"{NAMESPACE}/tercet-gateway-metrics"
    assert settings.lease_namespace in (settings.namespaces or (NAMESPACE,))


def test_defaults_are_the_operators_own() -> None:
    """Values that say nothing new repeat what the code says."""
    told = OperatorSettings.from_environment(read_environment(render()))
    own = OperatorSettings()
    for field in ("namespaces", "workers", "resync_s", "metrics_port", "images"):
        assert getattr(told, field) == getattr(own, field), field


def test_every_kind_that_the_operator_touches_is_in_its_rules() -> None:
    """A kind without a rule would fail at the first deployment."""
    objects = render()
    rules = [rule for each in objects if each["kind"].endswith("Role") for rule in each["rules"]]
    allowed = {resource for rule in rules for resource in rule["resources"]}
    assert {plural for _, plural in PATHS.values()} - allowed == set()


def test_children_are_watched_and_nothing_may_be_done_to_everything() -> None:
    """Each kind of child can be listed and watched; there are no wildcards, and no rule for Secrets."""
    rules = find(render(), "ClusterRole", f"{NAMESPACE}-tercet-operator")["rules"]
    verbs = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
    assert all({"list", "watch"} <= verbs[PATHS[kind][1]] for kind in CHILDREN)
    assert not {"*", "secrets", "roles", "namespaces", "nodes"} & set(verbs)
    assert not any("*" in granted for granted in verbs.values())


def test_served_namespaces_need_no_rights_elsewhere() -> None:
    """With `operator.namespaces` there is nothing for the whole cluster but the resource itself."""
    objects = render({"operator": {"namespaces": ["speech", "music"]}})
    assert [each["kind"] for each in objects if each["kind"].startswith("Cluster")] == []
    roles = {each["metadata"]["namespace"] for each in objects if each["kind"] == "Role"}
    assert roles == {NAMESPACE, "music"}


# --- what the gateway is told -------------------------------------------------------------------


def read_settings(values: Path | dict[str, Any] | None = None) -> Settings:
    settings = find(render(values), "ConfigMap", "tercet-gateway")["data"]["gateway.json"]
    return parse_settings(settings.encode())


@by_values
def test_the_gateway_can_read_its_settings(values: Path) -> None:
    """It watches what the operator watches."""
    settings = read_settings(values)
    environment = read_environment(render(values))
    assert settings.cluster is not None
    assert settings.cluster.namespaces == OperatorSettings.from_environment(environment).namespaces
    assert (settings.host, settings.port) == ("0.0.0.0", GATEWAY_PORT)
    assert settings.metrics_port == GATEWAY_METRICS_PORT


def test_what_a_user_sets_arrives() -> None:
    """In the gateway's own words."""
    settings = read_settings(CHART / "ci" / "full-values.yaml")
    assert (settings.limits.turns, settings.media.workers) == (512, 4)
    assert (settings.timeouts.total_s, settings.timeouts.drain_s) == (1200, 300)
    assert settings.media.allowed_hosts == ("cdn.example.com",)


def test_the_schema_knows_all_of_the_gateways_settings() -> None:
    """And their bounds; but not of those that have values of their own."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    groups = schema["properties"]["gateway"]["properties"]["settings"]["properties"]
    bounds = ("type", "minimum", "exclusiveMinimum", "maximum")
    for group, settings in (("limits", Limits), ("media", MediaLimits), ("timeouts", Timeouts)):
        own = TypeAdapter(settings).json_schema()["properties"].items()
        assert groups[group]["properties"] == {
            name: {bound: field[bound] for bound in bounds if bound in field}
            for name, field in own
            if name not in {"allowed_hosts", "drain_s"}
        }, group


def test_a_change_of_settings_starts_gateways_anew() -> None:
    """By the checksum in the pods' annotations; a change of other values does not."""

    def checksum(values: dict[str, Any]) -> str:
        template = find(render(values), "Deployment", "tercet-gateway")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    assert checksum({}) == checksum({"gateway": {"replicas": 5}})
    assert checksum({}) != checksum({"gateway": {"settings": {"limits": {"turns": 5}}}})


@pytest.mark.parametrize("drain_s", [0, 30, 3600])
def test_pods_are_not_killed_before_their_turns_end(drain_s: int) -> None:
    """The grace period holds the pause, the drain, and some seconds to go."""
    values = {"gateway": {"drainSeconds": drain_s}}
    pod = find(render(values), "Deployment", "tercet-gateway")["spec"]["template"]["spec"]
    pause_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert read_settings(values).timeouts.drain_s == drain_s
    assert pod["terminationGracePeriodSeconds"] >= pause_s + drain_s + 5


def test_gateways_are_admitted_to_the_servers() -> None:
    """The NetworkPolicy that the operator makes looks for labels that the chart's pods have."""
    policy = build_network_policy(Owner(namespace="a", name="b", uid="c"))
    wanted = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    template = find(render(), "Deployment", "tercet-gateway")["spec"]["template"]
    assert wanted.items() <= template["metadata"]["labels"].items()


def test_servers_are_found_by_their_labels() -> None:
    """The PodMonitor selects what the operator makes."""
    monitor = find(render(CHART / "ci" / "full-values.yaml"), "PodMonitor", "tercet-servers")["spec"]
    labels = Owner(namespace="a", name="b", uid="c").generation_labels("thinker", "d")
    assert monitor["selector"]["matchLabels"] == {LABEL_MANAGED_BY: MANAGER}
    assert monitor["selector"]["matchExpressions"] == [{"key": LABEL_STAGE, "operator": "Exists"}]
    assert labels[LABEL_MANAGED_BY] == MANAGER
    sources = [each["sourceLabels"][0] for each in monitor["podMetricsEndpoints"][0]["relabelings"]]
    prefix = "__meta_kubernetes_pod_label_" + API_GROUP.replace(".", "_") + "_"
    assert [source.removeprefix(prefix) for source in sources] == ["deployment", "stage", "generation"]


def test_documents_name_what_is_there() -> None:
    """Every image that may have to be mirrored, and no value that the chart does not have."""
    page = (ROOT / "docs" / "install.md").read_text()
    objects = render()
    used = {container["image"] for pod in iter_pods(objects) for container in pod["containers"]}
    used |= {value for name, value in read_environment(objects).items() if name.endswith("_IMAGE")}
    assert set(re.findall(r"^\| `(tercet/[^`]+)` \|", page, re.MULTILINE)) == used
    leaves = {".".join(path) for path in iter_leaves(yaml.safe_load((CHART / "values.yaml").read_text()))}
    settings = read_settings()
    for name in re.findall(VALUE, page + (ROOT / "docs" / "runbooks.md").read_text()):
        known = any(leaf == name or leaf.startswith(name + ".") for leaf in leaves)
        group, _, field = name.removeprefix("gateway.settings.").partition(".")
        assert known or hasattr(getattr(settings, group, None), field), name


def test_the_resource_is_the_operators() -> None:
    """The template passes on all of files/omnideployments.yaml."""
    source = yaml.safe_load((CHART / "files" / "omnideployments.yaml").read_text())
    crd = find(render(), "CustomResourceDefinition", source["metadata"]["name"])
    assert crd["spec"] == source["spec"]


# --- what is refused ----------------------------------------------------------------------------

WRONG: dict[str, dict[str, Any]] = {
    "/operator/replicas": {"operator": {"replicas": 3}},
    "'replica' not allowed": {"operator": {"replica": 2}},
    "'gatway' not allowed": {"gatway": {}},
    "/operator/namespaces": {"operator": {"namespaces": "speech"}},
    "/operator/namespaces/0": {"operator": {"namespaces": ["Speech"]}},
    "/operator/workers": {"operator": {"workers": 0}},
    "/operator/resyncSeconds": {"operator": {"resyncSeconds": "5m"}},
    "/operator/resources": {"operator": {"resources": {"limit": {"memory": "1Gi"}}}},
    "/operator/tolerations": {"operator": {"tolerations": {"key": "gpu"}}},
    "/operator/nodeSelector/gpu": {"operator": {"nodeSelector": {"gpu": True}}},
    "/images/pullPolicy": {"images": {"pullPolicy": "Sometimes"}},
    "/images/gateway": {"images": {"gateway": "gateway"}},
    "/images/tag": {"images": {"tag": "tercet:1"}},
    "'install' not allowed": {"crds": {"install": False}},
    "/gateway/drainSeconds": {"gateway": {"drainSeconds": -1}},
    "'drain_s' not allowed": {"gateway": {"settings": {"timeouts": {"drain_s": 5}}}},
    "/gateway/settings/limits/turns": {"gateway": {"settings": {"limits": {"turns": 0}}}},
    "/gateway/service/type": {"gateway": {"service": {"type": "ExternalName"}}},
    "/gateway/ingress/host": {"gateway": {"ingress": {"enabled": True}}},
    "/gateway/httpRoute/parentRefs": {"gateway": {"httpRoute": {"enabled": True}}},
    "/gateway/url": {"gateway": {"url": "speech.example.com"}},
    "app.kubernetes.io/name": {"commonLabels": {"app.kubernetes.io/name": "other"}},
    "/monitoring/rules/disabled": {"monitoring": {"rules": {"disabled": ["TercetGone"]}}},
    "/monitoring/rules/runbooks": {"monitoring": {"rules": {"runbooks": "docs/runbooks.md"}}},
    "/monitoring/serviceMonitors/interval": {"monitoring": {"serviceMonitors": {"interval": 15}}},
    "/fullnameOverride": {"fullnameOverride": "x" * 41},
}


@pytest.mark.parametrize(("fault", "values"), WRONG.items())
def test_wrong_values_are_refused_by_name(fault: str, values: dict[str, Any]) -> None:
    """The message names the key, so that nobody searches for it."""
    done = ask("helm", "template", "tercet", CHART, "--values", "-", document=json.dumps(values))
    assert done.returncode != 0
    assert fault in done.stderr


def test_a_parent_chart_may_pass_its_globals() -> None:
    """Helm adds them by itself."""
    assert render({"global": {"team": "speech"}})
