"""What the operator makes of its environment."""

from pathlib import Path

import pytest
from tercet_operator.settings import Images, OperatorSettings, SettingsError


def test_nothing_need_be_set() -> None:
    """And other programs' variables are none of ours, nor is Tercet's own for others."""
    settings = OperatorSettings.from_environment({"PATH": "/bin", "TERCET_SETTINGS_DIR": str(Path("/etc"))})
    assert settings == OperatorSettings()
    assert settings.images == Images()


@pytest.mark.parametrize(
    ("given", "namespaces"),
    [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b ,", ("a", "b")), (",", ())],
    ids=repr,
)
def test_namespaces_are_a_list(given: str, namespaces: tuple[str, ...]) -> None:
    """Separated by commas, with or without spaces; none means all."""
    assert OperatorSettings.from_environment({"TERCET_NAMESPACES": given}).namespaces == namespaces


def test_texts_become_what_they_mean() -> None:
    """Numbers, and the images as one."""
    environment = {
        "TERCET_WORKERS": "3",
        "TERCET_RESYNC_S": "1.5",
        "TERCET_ENGINE_IMAGE": "a:1",
        "TERCET_ENGINE_CPU_IMAGE": "b:1",
        "TERCET_IMAGE_PULL_POLICY": "Never",
    }
    settings = OperatorSettings.from_environment(environment)
    assert (settings.workers, settings.resync_s) == (3, 1.5)
    assert settings.images == Images(engine="a:1", engine_cpu="b:1", pull_policy="Never")


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("TERCET_WORKERS", "0", "greater than or equal to 2"),
        ("TERCET_WORKERS", "many", "integer"),
        ("TERCET_RESYNC_S", "0", "greater than 0"),
        ("TERCET_METRICS_PORT", "70000", "less than or equal to 65535"),
        ("TERCET_IMAGE_PULL_POLICY", "Sometimes", "'Always', 'IfNotPresent' or 'Never'"),
        ("TERCET_GATEWAY_SERVICE", "gateway", "namespace/name"),
    ],
)
def test_a_fault_names_the_variable(variable: str, value: str, hint: str) -> None:
    """And what it may be."""
    with pytest.raises(SettingsError) as raised:
        OperatorSettings.from_environment({variable: value})
    assert str(raised.value).startswith(f"{variable}: ")
    assert hint in str(raised.value)


def test_all_faults_are_shown_at_once() -> None:
    """One line each."""
    with pytest.raises(SettingsError) as raised:
        OperatorSettings.from_environment({"TERCET_WORKERS": "0", "TERCET_METRICS_PORT": "x"})
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == [
        "TERCET_WORKERS",
        "TERCET_METRICS_PORT",
    ]


def test_the_lease_is_where_the_operator_watches() -> None:
    """The first of its namespaces unless told; another could not be watched."""
    settings = OperatorSettings.from_environment({"TERCET_NAMESPACES": "a,b"})
    assert settings.lease_namespace == "a"
    with pytest.raises(SettingsError, match=r"TERCET_LEASE_NAMESPACE: .* one of TERCET_NAMESPACES: a, b"):
        OperatorSettings.from_environment({"TERCET_NAMESPACES": "a,b", "TERCET_LEASE_NAMESPACE": "c"})
