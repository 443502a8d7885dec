"""Where servers find their checkpoint, for each way to give one."""

from typing import Any

import pytest
from tercet_operator.resources.model_volume import build_claim, build_model_volume
from tercet_wire.spec import CacheSpec, OmniDeployment

from tests.operator.cluster_objects import OWNER

CACHE = {"size": "40Gi"}
EMPTY = {"name": "model", "emptyDir": {}}


def claim(name: str) -> dict[str, Any]:
    return {"name": "model", "persistentVolumeClaim": {"claimName": name}}


def build(**model: Any) -> OmniDeployment:
    return OmniDeployment.model_validate({"metadata": {"name": "demo"}, "spec": {"model": model}})


@pytest.mark.parametrize(
    ("model", "volume", "checkpoint", "needs_fetch"),
    [
        ({"source": "hf://a/b"}, EMPTY, "/var/cache/tercet/served-", True),
        ({"source": "hf://a/b", "cache": CACHE}, claim("demo-model"), "/var/cache/tercet/served-", True),
        ({"source": "demo://tiny"}, EMPTY, "/var/cache/tercet/served-", True),
        ({"source": "pvc://weights/qwen/7b"}, claim("weights"), "/var/cache/tercet/qwen/7b", False),
        ({"source": "file:///models/7b"}, EMPTY, "/models/7b", False),
    ],
    ids=["hub", "hub, cached", "demo", "claim", "folder"],
)
def test_each_source_has_its_place(
    model: dict[str, Any], volume: dict[str, Any], checkpoint: str, needs_fetch: bool
) -> None:
    """The volume that is mounted, the folder in it, and whether something must be fetched first."""
    built = build_model_volume(build(**model))
    assert built.volume == volume
    assert built.checkpoint.startswith(checkpoint)
    assert built.needs_fetch is needs_fetch


def test_each_revision_has_a_folder_of_its_own() -> None:
    """Two generations may share a volume while one replaces the other."""
    models: list[dict[str, Any]] = [
        {"source": "hf://a/b"},
        {"source": "hf://a/b", "revision": "v2"},
        {"source": "hf://a/c"},
        {"source": "modelscope://a/b"},
    ]
    folders = {build_model_volume(build(**model)).checkpoint for model in models}
    assert len(folders) == len(models)
    assert build_model_volume(build(**models[0])) == build_model_volume(build(**models[0]))


def test_servers_read_and_only_the_fetch_writes() -> None:
    """The mount is the same but for that."""
    volume = build_model_volume(build(source="hf://a/b"))
    assert volume.mount(read_only=True) == {
        "name": "model",
        "mountPath": "/var/cache/tercet",
        "readOnly": True,
    }
    assert volume.mount(read_only=False)["readOnly"] is False


@pytest.mark.parametrize("storage_class", [None, "fast"])
def test_the_claim_is_what_the_spec_says(storage_class: str | None) -> None:
    """Without a class the field stays away, since an empty one would mean no class at all."""
    cache = CacheSpec(size="40Gi", storage_class_name=storage_class, access_mode="ReadWriteMany")
    spec = build_claim(OWNER, cache)["spec"]
    assert spec == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "40Gi"}},
    } | ({"storageClassName": storage_class} if storage_class else {})
