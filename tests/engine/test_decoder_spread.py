"""Turns over several devices, with engines that only write down what they are told."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from tercet_engine.decoder.shape import DecoderShape
from tercet_engine.decoder_engine import build_engine
from tercet_engine.spread import Spread, spread
from tercet_engine.stage import Sink
from tercet_wire.messages import Load, StageFailure
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from tests.engine.listeners import Listener


@dataclass
class Notebook:
    """An engine that keeps its turns open until it is told otherwise."""

    reported: Load = field(default_factory=Load)
    sinks: dict[str, Sink[str]] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def open(self, session: str, first: str, sink: Sink[str]) -> None:
        self.told.append((session, first))
        self.sinks[session] = sink

    def feed(self, session: str, more: str) -> None:
        self.told.append((session, more))

    def cancel(self, session: str) -> None:
        self.end(session, StageFailure(type="cancelled", message="as asked"))

    def end(self, session: str, failure: StageFailure | None = None) -> None:
        self.sinks.pop(session).close(failure)

    def load(self) -> Load:
        return self.reported

    def shutdown(self) -> None:
        for session in list(self.sinks):
            self.cancel(session)


Open = Callable[[str], Listener[str]]


@pytest.fixture
def books() -> tuple[Notebook, Notebook]:
    return Notebook(), Notebook()


@pytest.fixture
def open_turn(books: tuple[Notebook, Notebook]) -> Open:
    engine = Spread[str, str](books)

    def open_one(session: str) -> Listener[str]:
        listener: Listener[str] = Listener()
        engine.open(session, "hello", listener)
        engine.feed(session, "more")
        return listener

    return open_one


def test_turns_go_where_fewest_are_open(books: tuple[Notebook, Notebook], open_turn: Open) -> None:
    """And a turn that has ended counts no more."""
    for session in "abc":
        open_turn(session)
    assert [sorted(book.sinks) for book in books] == [["a", "c"], ["b"]]
    books[0].end("a")
    books[0].end("c")
    open_turn("d")
    open_turn("e")
    assert [sorted(book.sinks) for book in books] == [["d", "e"], ["b"]]


def test_a_turn_stays_where_it_began(books: tuple[Notebook, Notebook], open_turn: Open) -> None:
    """All its input, its outputs and its end go one way."""
    listeners = {session: open_turn(session) for session in "ab"}
    assert [book.told for book in books] == [
        [("a", "hello"), ("a", "more")],
        [("b", "hello"), ("b", "more")],
    ]
    books[1].sinks["b"].send("an output")
    books[1].end("b")
    assert listeners["b"].outputs == ["an output"]
    assert listeners["b"].end() is None


def test_a_session_is_open_only_once(books: tuple[Notebook, Notebook], open_turn: Open) -> None:
    """On whichever device; its name is free again after its end."""
    first = open_turn("a")
    assert open_turn("a").end_type() == "invalid_request"
    books[0].end("a")
    assert first.end() is None
    open_turn("a")
    assert sum(len(book.sinks) for book in books) == 1


def test_unknown_sessions_are_ignored(books: tuple[Notebook, Notebook]) -> None:
    """Their turn may just have ended."""
    engine = Spread[str, str](books)
    engine.feed("nobody", "more")
    engine.cancel("nobody")
    assert [book.told for book in books] == [[], []]


def test_cancel_and_shutdown_reach_the_device(books: tuple[Notebook, Notebook]) -> None:
    """One turn, then all."""
    engine = Spread[str, str](books)
    listeners: list[Listener[str]] = [Listener() for _ in range(3)]
    for number, listener in enumerate(listeners):
        engine.open(f"{number}", "hello", listener)
    engine.cancel("1")
    assert listeners[1].end_type() == "cancelled"
    engine.shutdown()
    assert [listener.end_type() for listener in listeners] == ["cancelled"] * 3


def test_the_load_is_that_of_all_devices() -> None:
    """Turns add up, memory is shared evenly, the latest stream counts."""
    loads = [
        Load(turns=3, waiting=1, kv_used=0.5, lateness_s=0.1),
        Load(turns=2, waiting=0, kv_used=0.0, lateness_s=0.4),
    ]
    engine = Spread[str, str]([Notebook(reported=load) for load in loads])
    assert engine.load() == Load(turns=5, waiting=1, kv_used=0.25, lateness_s=0.4)


def test_one_device_needs_no_spreading() -> None:
    """Its engine is the engine."""
    book = Notebook()
    assert spread([book]) is book


def test_memory_that_holds_no_block_is_refused_at_start() -> None:
    """With the sizes, so that the setting can be corrected."""
    shape = DecoderShape(layers=2, hidden=8, heads=2, kv_heads=1, head_dim=4, epsilon=1e-6, context=64)
    settings = StageSettings(stage=Stage.TALKER, checkpoint="", kv_bytes=1000, block_tokens=16)
    with pytest.raises(ValueError, match="1000 bytes of KV memory hold no block of 1024 bytes"):
        build_engine(settings, shape, lambda device, context: pytest.fail("built"))
