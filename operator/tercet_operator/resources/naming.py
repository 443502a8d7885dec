"""Names and labels of an OmniDeployment's children: pure, used by all builders and by `observed`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tercet_wire.names import (
    API_GROUP,
    API_VERSION,
    KIND,
    LABEL_DEPLOYMENT,
    LABEL_GENERATION,
    LABEL_MANAGED_BY,
    LABEL_STAGE,
    MANAGER,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The OmniDeployment that children belong to and go with."""

    namespace: str
    name: str
    uid: str = ""
    """Empty: it is in no cluster yet, and its children are only looked at."""

    def metadata(self, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        """Of a child. The owner blocks nothing: who deletes it need not wait for its children."""
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace, "labels": dict(labels)}
        if self.uid:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": f"{API_GROUP}/{API_VERSION}",
                    "kind": KIND,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ]
        return metadata

    def labels(self) -> dict[str, str]:
        """Of everything that belongs to the deployment."""
        return {
            "app.kubernetes.io/name": "tercet",
            "app.kubernetes.io/instance": self.name,
            LABEL_MANAGED_BY: MANAGER,
            LABEL_DEPLOYMENT: self.name,
        }

    def kind_labels(self, kind: str) -> dict[str, str]:
        """Of what belongs to one kind of server, whatever its generation."""
        return {**self.labels(), "app.kubernetes.io/component": kind, LABEL_STAGE: kind}

    def generation_labels(self, kind: str, generation: str) -> dict[str, str]:
        return {**self.kind_labels(kind), LABEL_GENERATION: generation}


def kind_selector(owner: str, kind: str) -> dict[str, str]:
    return {LABEL_DEPLOYMENT: owner, LABEL_STAGE: kind}


def generation_selector(owner: str, kind: str, generation: str) -> dict[str, str]:
    return {**kind_selector(owner, kind), LABEL_GENERATION: generation}


def kind_name(owner: str, kind: str) -> str:
    return f"{owner}-{kind}"


def server_name(owner: str, kind: str, generation: str) -> str:
    """At most 40 + 1 + 8 + 1 + 8 characters."""
    return f"{owner}-{kind}-{generation}"
