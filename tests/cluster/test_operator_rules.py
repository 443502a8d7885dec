"""The operator with the rights that the chart gives it: all its work gets done, and each is needed."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tercet_operator.election import LEASE
from tercet_operator.plan import MADE_ONCE
from tercet_wire.names import LABEL_DEPLOYMENT

from tests.cluster.api import PLACES, WRITTEN, Api, Manifest
from tests.cluster.children import wait_for_children
from tests.cluster.kubectl import Kubectl
from tests.cluster.operators import Operator, run_operator
from tests.cluster.waiting import wait_for
from tests.wire.mistakes import HUB, build_document

pytestmark = pytest.mark.usefixtures("crd")

RULES: Final = Path(__file__).parents[2] / "charts" / "tercet" / "files" / "operator-rules.yaml"
RBAC: Final = "rbac.authorization.k8s.io"
NAME: Final = "operator"
CHILDREN: Final = 14
KINDS: Final = {plural: kind for kind, (_, plural) in PLACES.items()}
WITHIN_S: Final = 15.0
Rules = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    resource: str
    verb: str

    @property
    def refusal(self) -> str:
        """As the API server words it."""
        return f'cannot {self.verb} resource "{self.resource}"'


def read_rules() -> Rules:
    rules: Rules = yaml.safe_load(RULES.read_text())
    return rules


def list_rights() -> list[Right]:
    return [
        Right(resource=resource, verb=verb)
        for rules in read_rules().values()
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def take(rules: Rules, *rights: Right) -> Rules:
    """The rules without some rights."""
    rest = deepcopy(rules)
    for rule in (rule for each in rest.values() for rule in each):
        gone = {right.verb for right in rights if right.resource in rule["resources"]}
        others = [resource for resource in rule["resources"] if resource not in {r.resource for r in rights}]
        if gone and others:  # they keep theirs
            rest["served"].append({**rule, "resources": others})
            rule["resources"] = [each for each in rule["resources"] if each not in others]
        rule["verbs"] = [verb for verb in rule["verbs"] if verb not in gone]
    return {place: [rule for rule in each if rule["verbs"]] for place, each in rest.items()}


WATCHES: Final = [right for right in list_rights() if right.verb == "watch"]
LEASE_LIST: Final = [Right(resource="leases", verb="list")]
AT_START: Final = (*WATCHES, *LEASE_LIST)


@dataclass(slots=True, kw_only=True)
class Account:
    """A service account with some rules, and deployments named `demo` to try them on."""

    api: Api
    kubeconfig: Path
    edits: int = field(default=0)

    def give(self, rules: Rules) -> None:
        for place, rights in rules.items():
            kind = "ClusterRole" if place == "served" else "Role"
            name = f"{self.api.namespace}-{place}"
            subject = {"kind": "ServiceAccount", "name": NAME, "namespace": self.api.namespace}
            role = {"apiGroup": RBAC, "kind": kind, "name": name}
            self._apply(kind, name, {"rules": rights})
            self._apply(f"{kind}Binding", name, {"roleRef": role, "subjects": [subject]})

    def _apply(self, kind: str, name: str, body: Manifest) -> None:
        self.api.apply({"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": name}, **body})

    def edit(self) -> None:
        """Makes another generation."""
        self.edits += 1
        model = HUB | {"cache": {"size": "1Gi"}}
        self.api.apply(build_document("demo", model=model, speech={"firstCodes": 1 + self.edits % 48}))

    def wait_until_done(self) -> None:
        """All of the newest generation and nothing else."""
        wait_for_children(self.api, "demo", CHILDREN)

    def find(self, kind: str) -> str | None:
        """Some child of a kind, if there is one just now."""
        children = self.api.list_all(kind, f"{LABEL_DEPLOYMENT}=demo")
        return str(children[0]["metadata"]["name"]) if children else None

    def withdraw(self) -> None:
        for kind in ("ClusterRoleBinding", "ClusterRole"):
            self.api.delete(kind, f"{self.api.namespace}-served")


@pytest.fixture
def account(cluster: Path, namespace: str, kubectl: Kubectl, tmp_path: Path) -> Iterator[Account]:
    kubectl.run("create", "serviceaccount", NAME)
    token = kubectl.run("create", "token", NAME, "--duration=1h").strip()
    document = yaml.safe_load(cluster.read_text())
    document["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "account.kubeconfig"
    kubeconfig.write_text(json.dumps(document))
    with Api(cluster, namespace) as api, ExitStack() as stack:
        account = Account(api=api, kubeconfig=kubeconfig)
        account.give(read_rules())
        stack.callback(account.withdraw)
        yield account


@pytest.fixture
def operator(account: Account, tmp_path: Path) -> Iterator[Operator]:
    """For the whole cluster, with lists twice a second."""
    with run_as(account, tmp_path / "operator.log") as operator:
        wait_for(operator.is_leading, "the operator at work")
        account.edit()
        account.wait_until_done()
        yield operator


def run_as(account: Account, log: Path) -> Any:  # the context manager of run_operator
    namespace = account.api.namespace
    return run_operator(
        account.kubeconfig,
        log,
        lease_namespace=namespace,
        gateway_service=f"{namespace}/gateway",
        resync_s="0.5",
    )


def find_refusals(operator: Operator) -> set[str]:
    return set(re.findall(r'cannot \w+ resource \\*"[\w/]+', operator.read_log().replace("\\", "")))


def test_these_rules_are_enough(account: Account, operator: Operator) -> None:
    """For all that happens to a deployment in its life: nothing is refused."""
    account.edit()
    account.wait_until_done()
    for kind in WRITTEN:
        if (name := account.find(kind)) and kind not in MADE_ONCE:
            account.api.delete(kind, name)
            account.wait_until_done()
    account.api.delete("OmniDeployment", "demo")
    wait_for(lambda: not account.api.children("demo"), "garbage collection")
    events = {event["reason"] for event in account.api.list_all("Event")}
    assert "RolloutStarted" in events
    assert find_refusals(operator) == set()


def test_every_right_is_missed(account: Account, operator: Operator) -> None:
    """Each is taken from the running operator, which then has cause to use it."""
    for right in list_rights():
        if right in AT_START:
            continue
        account.give(take(read_rules(), right))
        wait_for_refusal(operator, right, account)
        account.give(read_rules())
        account.wait_until_done()


@pytest.mark.parametrize("rights", [WATCHES, LEASE_LIST], ids=["watches", "list of leases"])
def test_what_is_needed_at_the_start_is_missed(account: Account, tmp_path: Path, rights: list[Right]) -> None:
    """Watches are opened once, each for itself; the one of the lease begins with a list."""
    account.give(take(read_rules(), *rights))
    with run_as(account, tmp_path / "operator.log") as operator:
        for right in rights:
            wait_for_refusal(operator, right)


def wait_for_refusal(operator: Operator, right: Right, account: Account | None = None) -> None:
    """Provoked again and again, since rules take a moment to hold."""

    def is_refused() -> bool:
        if account:
            provoke(account, right)
        return right.refusal in operator.read_log().replace("\\", "")

    wait_for(is_refused, right.refusal, within_s=WITHIN_S, why=lambda: operator.read_log()[-2000:])


def provoke(account: Account, right: Right) -> None:
    """Gives the operator cause to use a right. Lists and the lease's renewal come by themselves."""
    api, kind = account.api, KINDS.get(right.resource, "")
    match right.resource, right.verb:
        case ("omnideployments/status", _):
            api.patch("OmniDeployment", "demo", {"status": {"url": "other"}}, subresource="status")
        case (("deployments/scale" | "events"), _) | (_, "delete"):
            account.edit()
        case ("leases", "create"):
            if api.find(kind, LEASE):
                api.delete(kind, LEASE)
        case ("persistentvolumeclaims", "patch") | (_, "create"):
            if name := account.find(kind):
                delete(api, kind, name)
        case (_, "patch"):
            if name := account.find(kind):
                api.patch(kind, name, {"metadata": {"labels": {"app.kubernetes.io/name": None}}})


def delete(api: Api, kind: str, name: str) -> None:
    api.delete(kind, name)
    if kind == "PersistentVolumeClaim":  # Kubernetes keeps it while pods use it
        for pod in api.pods("demo"):
            api.delete("Pod", pod["metadata"]["name"])
