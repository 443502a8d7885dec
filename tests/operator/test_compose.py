"""compose.yaml runs what pods run: the operator's builders and the chart say what must stand in it."""

import re
from typing import Any

import pytest
import yaml
from tercet_operator.resources.pods import USER_ID
from tercet_operator.resources.quantities import parse_bytes
from tercet_wire.names import DEFAULT_SETTINGS_DIR

from hack.compose_settings import PROFILES, ROOT, Profile, build_files
from tests.operator.compose_file import parse_size, read_services

SERVICES = read_services()
CHART_VALUES = yaml.safe_load((ROOT / "charts/tercet/values.yaml").read_text())
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
by_service = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))


def pod_of(profile: Profile) -> dict[str, Any]:
    spec: dict[str, Any] = profile.server.pod["spec"]
    return spec


def limits_of(service: dict[str, Any]) -> dict[str, Any]:
    limits: dict[str, Any] = service["deploy"]["resources"]["limits"]
    return limits


@by_profile
def test_the_settings_are_those_of_pods(profile: Profile) -> None:
    """hack/compose_settings.py would write what is there, and nothing else is there."""
    written = {path.name: path.read_text() for path in profile.folder.iterdir()}
    assert written == dict(build_files(profile))


@by_profile
def test_the_model_is_fetched_as_a_pod_fetches_it(profile: Profile) -> None:
    """Same image and words, so that the server finds it; variables without a value come from the shell."""
    (fetch,) = pod_of(profile)["initContainers"]
    service = SERVICES[f"fetch-{profile.name}"]
    given = {name: value for name, value in service["environment"].items() if value is not None}
    assert (service["image"], service["command"]) == (fetch["image"], fetch["command"])
    assert given == {each["name"]: each["value"] for each in fetch["env"]}


@by_profile
def test_the_server_is_started_as_a_pod_starts_it(profile: Profile) -> None:
    """Same image, arguments and environment."""
    (triton,) = pod_of(profile)["containers"]
    service = SERVICES[f"server-{profile.name}"]
    assert service["image"] == triton["image"]
    assert service["command"] == triton["command"] + triton["args"]
    assert service["environment"] == {each["name"]: each["value"] for each in triton["env"]}


@by_profile
def test_the_server_is_healthy_when_a_pod_would_be_ready(profile: Profile) -> None:
    """It is asked the same, since the gateway waits for it."""
    (triton,) = pod_of(profile)["containers"]
    probe = SERVICES[f"server-{profile.name}"]["healthcheck"]["test"]
    assert re.findall(r"127.0.0.1:8100([^']*)", probe[-1]) == [triton["readinessProbe"]["httpGet"]["path"]]


@by_profile
def test_limits_are_those_of_pods(profile: Profile) -> None:
    """Of server and fetch where the example has some, and of the gateway as in the chart."""
    (triton,) = pod_of(profile)["containers"]
    gateway = CHART_VALUES["gateway"]["resources"]["limits"]["memory"]
    assert parse_size(limits_of(SERVICES[f"gateway-{profile.name}"])["memory"]) == parse_bytes(gateway)
    wanted = triton["resources"].get("limits", {}).get("memory")
    for name in ("server", "fetch"):
        given = limits_of(SERVICES[f"{name}-{profile.name}"]).get("memory")
        assert (given and parse_size(given)) == (wanted and parse_bytes(wanted))


@by_profile
def test_the_server_gets_the_gpus_that_its_stages_name(profile: Profile) -> None:
    """None where they name none."""
    reservations = SERVICES[f"server-{profile.name}"]["deploy"]["resources"].get("reservations", {})
    assert sum(each["count"] for each in reservations.get("devices", ())) == profile.server.plan.gpus


@by_profile
def test_each_waits_for_the_one_before_it(profile: Profile) -> None:
    """Fetched, then healthy; all of the same profile."""
    fetch, server, gateway = (f"{name}-{profile.name}" for name in ("fetch", "server", "gateway"))
    assert SERVICES[server]["depends_on"] == {fetch: {"condition": "service_completed_successfully"}}
    assert SERVICES[gateway]["depends_on"] == {server: {"condition": "service_healthy"}}
    assert {tuple(SERVICES[name]["profiles"]) for name in (fetch, server, gateway)} == {(profile.name,)}


@by_profile
@pytest.mark.parametrize("name", ["server", "gateway"])
def test_both_read_the_settings_of_their_profile(profile: Profile, name: str) -> None:
    """From the folder of this tree, where the programs look for them."""
    mounts = SERVICES[f"{name}-{profile.name}"]["volumes"]
    (settings,) = (each for each in mounts if each["type"] == "bind")
    assert (ROOT / settings["source"]).resolve() == profile.folder.resolve()
    assert (settings["target"], settings["read_only"]) == (DEFAULT_SETTINGS_DIR, True)


@by_service
def test_every_service_is_as_confined_as_a_pod(service: dict[str, Any]) -> None:
    """No root, no capabilities, nothing gained by setuid, and a file system that is only read."""
    assert service["user"] == f"{USER_ID}:{USER_ID}"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert limits_of(service)["pids"]


@by_service
def test_only_this_machine_is_served(service: dict[str, Any]) -> None:
    """The gateway has no authentication, and a server publishes nothing."""
    assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []
    assert ("ports" in service) == ("gateway" in service["image"])


@pytest.mark.parametrize("image", ["engine", "engine-cpu"])
def test_the_images_cache_belongs_to_their_user(image: str) -> None:
    """Else a new volume would be root's, and the fetch could not write to it."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    (stage,) = re.findall(rf"^FROM \S+ AS {image}\n((?:(?!FROM ).*\n)*)", dockerfile, re.MULTILINE)
    assert f'install --directory --owner {USER_ID} --group {USER_ID} "$TERCET_CACHE"' in stage
