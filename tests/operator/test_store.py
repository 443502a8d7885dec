"""What the store believes when news come late, twice, or not at all."""

import pytest
from tercet_operator.store import Entry, Store
from tercet_wire.names import KIND

from tests.operator.cluster_objects import OWNER, build_child, build_pod, build_resource

KEY = (OWNER.namespace, OWNER.name)
PLACE = ("Service", "a")


def fill(*objects: dict[str, object]) -> Store:
    store = Store()
    for each in objects:
        store.put(each)
    return store


def find_version(store: Store) -> str | None:
    child = store.get(KEY).children.get(PLACE)
    return str(child["metadata"]["resourceVersion"]) if child else None


def test_a_child_belongs_to_the_deployment_of_its_label() -> None:
    """And one without the label to nobody."""
    store = Store()
    assert store.put(build_child("Service", "a")) == KEY
    stranger = build_child("Service", "b")
    stranger["metadata"]["labels"] = {}
    assert store.put(stranger) is None
    assert store.keys() == [KEY]
    assert len(store) == 0, "a child alone is no deployment"


@pytest.mark.parametrize(
    ("version", "uid", "believed"),
    [(8, "1", "9"), (9, "1", "9"), (10, "1", "10"), (3, "2", "3")],
    ids=["older", "the same again", "newer", "of a namesake that came after it"],
)
def test_only_news_count(version: int, uid: str, believed: str) -> None:
    """Versions of one object grow; 10 is more than 9, and another uid is another object."""
    store = fill(build_child("Service", "a", version=9, uid="1"))
    news = store.put(build_child("Service", "a", version=version, uid=uid))
    assert find_version(store) == believed
    assert (news == KEY) == (believed != "9")


def test_an_older_deployment_is_ignored() -> None:
    """The watch may be behind what a write has answered."""
    store = fill(build_resource(version=9))
    assert store.put(build_resource(version=8)) is None
    assert [each["metadata"]["resourceVersion"] for each in store.resources()] == ["9"]


def test_what_is_deleted_is_forgotten() -> None:
    """The last of a deployment with its entry, so that the store does not grow."""
    store = fill(build_resource(), build_child("Service", "a"))
    assert store.remove(build_resource()) == KEY
    assert (len(store), store.keys()) == (0, [KEY])
    assert store.remove(build_child("Service", "a")) == KEY
    assert (store.keys(), store.get(KEY)) == ([], Entry())
    assert store.remove(build_child("Service", "a")) == KEY


def test_the_end_of_its_namesake_takes_nothing_away() -> None:
    """Deleted and made again: the word of the deletion may come last."""
    store = fill(build_resource(uid="new"), build_child("Service", "a", uid="new"))
    store.remove(build_child("Service", "a", uid="old", version=5))
    store.remove(build_resource(uid="old", version=5))
    assert find_version(store) == "1"
    assert len(store) == 1


def test_a_list_replaces_what_is_known() -> None:
    """It returns the deployments for which something is different."""
    same = build_child("Service", "same", version=1)
    gone = build_child("Service", "gone", version=2, owner="other")
    store = fill(same, gone, build_child("ConfigMap", "gone", version=2))
    new = build_child("Service", "new", version=3, owner="third")
    changed = store.replace("Service", None, [same, new], 4)
    assert changed == {(OWNER.namespace, "other"), (OWNER.namespace, "third")}
    assert set(store.get(KEY).children) == {("Service", "same"), ("ConfigMap", "gone")}
    assert store.replace("Service", None, [same, new], 5) == set()


def test_a_list_does_not_undo_what_came_after_it() -> None:
    """What a write has answered since then is newer than the list."""
    store = fill(build_child("Service", "a", version=7))
    assert store.replace("Service", None, [], 6) == set()
    assert store.replace("Service", None, [build_child("Service", "a", version=5)], 6) == set()
    assert find_version(store) == "7"
    assert store.replace("Service", None, [], 7) == {KEY}


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    """Where the operator watches several."""
    store = fill(build_child("Service", "a"), build_resource())
    assert store.replace("Service", "elsewhere", [], 9) == set()
    assert store.replace(KIND, "elsewhere", [], 9) == set()
    assert store.replace(KIND, OWNER.namespace, [], 9) == {KEY}


def test_of_pods_only_what_is_looked_at_is_kept() -> None:
    """There are many of them, and their specs are long."""
    pod = build_pod() | {"spec": {"containers": []}}
    pod["metadata"] |= {"managedFields": [1], "annotations": {"a": "b"}}
    pod["status"] |= {"podIP": "10.0.0.1"}
    store = fill(pod)
    (kept,) = store.get(KEY).children.values()
    assert "spec" not in kept
    assert not {"managedFields", "annotations"} & set(kept["metadata"])
    assert set(kept["status"]) == {"phase", "conditions", "containerStatuses", "initContainerStatuses"}


def test_managed_fields_are_not_kept() -> None:
    """Half of a Deployment's text is the record of who wrote what."""
    child = build_child("Service", "a")
    child["metadata"]["managedFields"] = [1]
    assert "managedFields" not in fill(child).get(KEY).children[PLACE]["metadata"]
