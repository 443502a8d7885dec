"""What all gateways together can route to."""

import pytest
from tercet_operator.routes import RouteBook, combine
from tercet_operator.status import Routable
from tercet_operator.store import Key
from tercet_wire.names import Stage
from tercet_wire.status import Routes

DEMO, OTHER = ("ns", "demo"), ("ns", "other")
THINKER, TALKER = ("a", Stage.THINKER), ("a", Stage.TALKER)


def say(thinkers: int = 1, talkers: int = 1, *, name: str = "ns/demo", generation: str = "a") -> Routes:
    """A gateway's answer."""
    stages = {Stage.THINKER: thinkers, Stage.TALKER: talkers}
    return Routes(deployments={name: {generation: stages}})


CASES: dict[str, tuple[list[Routes], dict[Key, Routable]]] = {
    "no gateway": ([], {}),
    "one": ([say(2, 3)], {DEMO: {THINKER: 2, TALKER: 3}}),
    "two that see the same": ([say(), say()], {DEMO: {THINKER: 1, TALKER: 1}}),
    "the least counts": ([say(2, 1), say(1, 3)], {DEMO: {THINKER: 1, TALKER: 1}}),
    "one sees nothing": ([say(), Routes()], {DEMO: {THINKER: 0, TALKER: 0}}),
    "the first sees nothing": ([Routes(), say()], {}),
    "another generation": ([say(), say(generation="b")], {DEMO: {THINKER: 0, TALKER: 0}}),
    "other deployments": ([say(name="ns/other")], {OTHER: {THINKER: 1, TALKER: 1}}),
}


@pytest.mark.parametrize(("answers", "expected"), CASES.values(), ids=CASES)
def test_a_replica_counts_when_all_gateways_reach_it(
    answers: list[Routes], expected: dict[Key, Routable]
) -> None:
    """Turns may come to any of them."""
    assert combine(answers) == expected


def test_a_closed_book_says_that_nobody_was_asked() -> None:
    """Which is not the same as that nothing is reached."""
    assert RouteBook(open_=False).find(DEMO) is None
    assert RouteBook(open_=True).find(DEMO) == {}


def test_only_deployments_with_news_are_looked_at() -> None:
    """Those that came, changed or went."""
    book = RouteBook(open_=True)
    assert book.write([say()]) == {DEMO}
    assert book.write([say()]) == set()
    assert book.write([say(2)]) == {DEMO}
    assert book.find(DEMO) == {THINKER: 2, TALKER: 1}
    assert book.write([say(name="ns/other")]) == {DEMO, OTHER}
    assert book.find(DEMO) == {}
    assert book.write([]) == {OTHER}
