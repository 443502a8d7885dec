"""Names that fit and labels that find."""

import re
from itertools import product

import pytest
from tercet_operator.resources.model_volume import claim_name
from tercet_operator.resources.naming import (
    Owner,
    generation_selector,
    kind_name,
    kind_selector,
    server_name,
)
from tercet_wire.names import COLOCATED, Stage

LONGEST = "a" * 40
KINDS = (*Stage, COLOCATED)
POD_SUFFIX = "-7c9f8d6b5b-x2x4q"
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
OWNER = Owner(namespace="n", name="demo", uid="1")


@pytest.mark.parametrize(("name", "kind"), [*product(("a", LONGEST), KINDS)])
def test_names_fit_where_they_are_used(name: str, kind: str) -> None:
    """Services are DNS labels of at most 63; the ReplicaSet's hash must fit behind a Deployment's."""
    server = server_name(name, kind, "0123abcd")
    for each in (server, kind_name(name, kind), claim_name(name)):
        assert LABEL.fullmatch(each), each
    assert len(server) <= 58
    assert len(server + POD_SUFFIX) <= 253


@pytest.mark.parametrize("kind", KINDS)
def test_selectors_find_their_own(kind: str) -> None:
    """Those of a generation no other generation's pods, those of a kind all of its generations'."""
    labels = OWNER.generation_labels(kind, "aaaa1111").items()
    assert generation_selector("demo", kind, "aaaa1111").items() <= labels
    assert kind_selector("demo", kind).items() <= labels
    assert not generation_selector("demo", kind, "bbbb2222").items() <= labels
    assert not kind_selector("demo2", kind).items() <= labels


def test_label_values_are_valid() -> None:
    """At most 63 characters of the allowed ones."""
    owner = Owner(namespace="n", name=LONGEST, uid="1")
    for value in owner.generation_labels("code2wav", "0123abcd").values():
        assert re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,62}", value)


def test_children_go_with_their_owner() -> None:
    """Which does not wait for them."""
    (reference,) = OWNER.metadata("a", {})["ownerReferences"]
    assert (reference["uid"], reference["controller"], reference["blockOwnerDeletion"]) == ("1", True, False)


def test_what_is_in_no_cluster_owns_nothing() -> None:
    """As `tercet render` shows it."""
    assert "ownerReferences" not in Owner(namespace="n", name="demo").metadata("a", {})
