"""Where the pods of a deployment find their checkpoint: the volume, the mount and the path. Pure.

Four ways: a volume claim of the deployment's own (`model.cache`), fetched into once; a claim that holds the
model already (`pvc://`); a folder that the pod template mounts (`file://`); else a volume that lives and goes
with its pod.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from tercet_wire.spec import CacheSpec, ModelSpec, OmniDeployment

from tercet_operator.resources.naming import Owner

CACHE_PATH: Final = "/var/cache/tercet"
VOLUME: Final = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVolume:
    volume: dict[str, Any]
    checkpoint: str
    """The folder that the stages read."""
    needs_fetch: bool
    path: str = CACHE_PATH

    def mount(self, *, read_only: bool) -> dict[str, Any]:
        return {"name": VOLUME, "mountPath": self.path, "readOnly": read_only}


def build_model_volume(deployment: OmniDeployment) -> ModelVolume:
    model = deployment.spec.model
    scheme, _, rest = model.source.partition("://")
    if scheme == "pvc":
        claim, _, folder = rest.partition("/")
        return ModelVolume(
            volume=_claim(claim), checkpoint=f"{CACHE_PATH}/{folder}".rstrip("/"), needs_fetch=False
        )
    if scheme == "file":
        return ModelVolume(volume=_empty(), checkpoint=rest, needs_fetch=False)
    volume = _claim(claim_name(deployment.metadata.name)) if model.cache else _empty()
    return ModelVolume(volume=volume, checkpoint=_link(model), needs_fetch=True)


def build_claim(owner: Owner, cache: CacheSpec) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": [cache.access_mode],
        "resources": {"requests": {"storage": cache.size}},
    }
    if cache.storage_class_name is not None:
        spec["storageClassName"] = cache.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": owner.metadata(claim_name(owner.name), owner.labels()),
        "spec": spec,
    }


def claim_name(owner: str) -> str:
    return f"{owner}-model"


def _link(model: ModelSpec) -> str:
    """A path of its own for each source and revision, so that two generations can share a volume."""
    digest = hashlib.sha256(f"{model.source}@{model.revision}".encode()).hexdigest()[:8]
    return f"{CACHE_PATH}/served-{digest}"


def _claim(name: str) -> dict[str, Any]:
    return {"name": VOLUME, "persistentVolumeClaim": {"claimName": name}}


def _empty() -> dict[str, Any]:
    return {"name": VOLUME, "emptyDir": {}}
