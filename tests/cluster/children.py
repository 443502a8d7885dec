"""What the children of a deployment are, without what differs from run to run."""

from tests.cluster.api import Api, Manifest
from tests.cluster.waiting import wait_for


def normalise(children: dict[str, Manifest]) -> dict[str, Manifest]:
    """What somebody wants of a child; neither its identity nor what others say of it."""
    return {
        name: {
            "labels": child["metadata"].get("labels"),
            "owners": [
                (owner["kind"], owner["name"]) for owner in child["metadata"].get("ownerReferences", ())
            ],
            "spec": child.get("spec"),
            "data": child.get("data"),
        }
        for name, child in children.items()
    }


def wait_for_children(api: Api, owner: str, count: int) -> dict[str, Manifest]:
    """As many as there should be, the same twice."""

    def find() -> dict[str, Manifest] | None:
        children = normalise(api.children(owner))
        same = len(children) == count and normalise(api.children(owner)) == children
        return children if same else None

    return wait_for(find, f"{count} children of {owner}", why=lambda: sorted(api.children(owner)))
