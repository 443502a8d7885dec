"""A watch that never ends, over a source that plays from a script."""

import asyncio

from tercet_gateway.cluster.objects import parse_deployment
from tercet_gateway.cluster.view import Event, Put
from tercet_gateway.cluster.watching import ClusterUnavailable, News, Pauses, VersionExpired, Watch

from tests.gateway.cluster_objects import build_deployment
from tests.gateway.conftest import eventually
from tests.gateway.fake_source import EMPTY, Script, Step

SOON = Pauses(first_s=0.001, longest_s=0.002)
AWAY = ClusterUnavailable("away")
EXPIRED = VersionExpired("too old")


def put(name: str) -> Put:
    return Put(parse_deployment(build_deployment(name)))


async def play(*steps: Step) -> tuple[list[str | None], list[Event], Watch]:
    """What was asked and what came of it, once the script is over."""
    script = Script(*steps)
    events: list[Event] = []

    async def receive(event: Event) -> None:
        events.append(event)

    watch = Watch("test", script, receive, SOON)
    task = asyncio.create_task(watch.run())
    await eventually(lambda: script.is_over)
    task.cancel()
    await asyncio.wait({task})
    return script.asked, events, watch


async def test_watch_goes_on_from_the_last_version() -> None:
    """After the server's own end nothing is listed anew; bookmarks count, too."""
    first = [News(version="2", event=put("a")), News(version="5")]
    asked, events, watch = await play("1", first, [News(version="6", event=put("b"))])
    assert asked == [None, "1", "5", "6"]
    assert events == [EMPTY, put("a"), put("b")]
    assert watch.is_synced


async def test_lost_connection_loses_nothing() -> None:
    """In the middle of a watch, or as it begins: it goes on from what was heard last."""
    asked, events, _ = await play(
        "1", [News(version="2", event=put("a")), AWAY], AWAY, AWAY, [News(version="3", event=put("b"))]
    )
    assert asked == [None, "1", "2", "2", "2", "3"]
    assert events == [EMPTY, put("a"), put("b")]


async def test_expired_version_is_listed_anew() -> None:
    """Said as the watch begins or in its middle."""
    asked, events, _ = await play("1", EXPIRED, "7", [News(version="8"), EXPIRED], "9")
    assert asked == [None, "1", None, "7", None, "9"]
    assert events == [EMPTY, EMPTY, EMPTY]


async def test_first_list_is_tried_until_it_succeeds() -> None:
    """Until then the watch is not in sync."""
    asked, events, watch = await play(AWAY, EXPIRED, AWAY)
    assert (asked, events, watch.is_synced) == ([None] * 4, [], False)
    asked, events, watch = await play(AWAY, "1")
    assert (asked, events, watch.is_synced) == ([None, None, "1"], [EMPTY], True)


async def test_watch_in_sync_stays_so_when_the_server_is_away() -> None:
    """What is known is still served."""
    _, _, watch = await play("1", AWAY, AWAY)
    assert watch.is_synced


async def test_watch_that_ends_at_once_is_not_asked_in_a_circle() -> None:
    """It counts as a failure, which is paused after, and goes on."""
    asked, _, _ = await play("1", [], [], [News(version="2")])
    assert asked == [None, "1", "1", "1", "2"]


def test_pauses_grow_to_a_bound_and_are_spread() -> None:
    """Half of the length is random."""
    pauses = Pauses(first_s=1.0, longest_s=10.0)
    for failures, longest_s in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (5000, 10)):
        lengths_s = {pauses.length_s(failures) for _ in range(20)}
        assert len(lengths_s) > 1
        assert all(longest_s / 2 <= length_s <= longest_s for length_s in lengths_s), failures
