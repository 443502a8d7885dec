"""The step loop over a network of toys: places, failures and ends, without a checkpoint."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tercet_engine.decoder.blocks import BlockPool, Prefix, Size
from tercet_engine.decoder.kv import KVCache, Layout
from tercet_engine.decoder.reply import Outlet, Portion
from tercet_engine.decoder.sampling import Choice, Picked, Picker
from tercet_engine.decoder.shape import DecoderShape
from tercet_engine.device import DeviceLost
from tercet_engine.stage import StageError
from tercet_engine.step_loop import StepLoop
from tercet_wire.messages import StageFailure
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from tests.engine.listeners import WAIT_S, Listener

SHAPE = DecoderShape(layers=1, hidden=4, heads=1, kv_heads=1, head_dim=4, epsilon=1e-6, context=128)
BLOCKS = 32


@dataclass(kw_only=True)
class Order:
    """What a toy turn is to do."""

    prompt: int = 3
    tokens: int = 2
    due_s: float = 1.0
    fails_at: str | None = None
    fails_after: int = 0
    """Tokens, before it fails at a step."""
    poison: bool = False
    held: bool = False
    """Its rows are there only once it has been fed."""
    measured: threading.Semaphore = field(default_factory=threading.Semaphore)
    """Released whenever the loop has asked how late the turn is."""


@dataclass(kw_only=True)
class ToyReply:
    order: Order
    outlet: Outlet[int]
    fed: int = 0
    ended: bool = False
    said: int = 0
    closed: int = 0
    prefix: Prefix = field(default_factory=Prefix)

    @property
    def due_s(self) -> float:
        return self.order.due_s

    @property
    def fails_next(self) -> bool:
        return self.order.fails_at == "step" and self.said >= self.order.fails_after

    def _reach(self, point: str) -> None:
        if self.order.fails_at == point:
            raise RuntimeError(f"the toy breaks at {point}")
        if self.order.fails_at == f"device at {point}":
            raise torch.AcceleratorError(f"the device is gone at {point}")

    def feed(self, more: Order) -> None:
        self._reach("feed")
        self.order = more

    def size(self) -> Size | None:
        return Size(prompt=self.order.prompt, most=self.order.prompt + self.order.tokens)

    def begin(self, known_blocks: int) -> Picker:
        assert known_blocks == 0
        self._reach("begin")
        return Picker(Choice(temperature=0.0))

    def ready(self) -> int:
        return 0 if self.order.held else max(self.order.prompt - self.fed, 1)

    def completes_with(self, rows: int) -> bool:
        return self.fed + rows >= self.order.prompt

    def receive(self, rows: int, states: torch.Tensor | None, picked: Picked | None) -> None:
        self._reach("receive")
        self.fed += rows
        if picked is not None:
            self.said += 1
            self.outlet.sink.send(self.said)
            self.ended = self.said == self.order.tokens

    def find_lateness_s(self, now_s: float) -> float:
        self.order.measured.release()
        return max(0.0, now_s - self.outlet.arrived_s - self.order.due_s)

    def close(self) -> None:
        self.closed += 1
        self._reach("close")


class ToyDecoder:
    """Keeps its rows and hands them through; minus ones break the step, NaNs the turn's scores."""

    def forward(self, rows: torch.Tensor, _: torch.Tensor, layout: Layout, cache: KVCache) -> torch.Tensor:
        cache.memory[0].flatten(0, 1)[layout.slots] = rows[:, None]
        if (rows == -1).any():
            raise RuntimeError("the device is on fire")
        return rows

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.clone()


@dataclass
class ToyStage:
    decoder: Any = field(default_factory=ToyDecoder)
    replies: list[ToyReply] = field(default_factory=list)
    steps: list[list[int]] = field(default_factory=list)
    gate: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)
    """A step has come to the gate."""
    closed: bool = False

    def open(self, first: Order, outlet: Outlet[int]) -> ToyReply:
        if first.fails_at == "open":
            raise StageError(StageFailure(type="invalid_request", message="not this one", param="toys"))
        reply = ToyReply(order=first, outlet=outlet)
        self.replies.append(reply)
        return reply

    def gather(self, portions: Sequence[Portion[ToyReply]]) -> tuple[torch.Tensor, torch.Tensor]:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(WAIT_S)
        self.steps.append([portion.rows for portion in portions])
        if any(portion.reply.order.fails_at == "device" for portion in portions):
            raise torch.AcceleratorError("an illegal memory access was encountered")
        fills = [
            float("nan") if portion.reply.order.poison else -1.0 if portion.reply.fails_next else 1.0
            for portion in portions
        ]
        rows = [torch.full((portion.rows, 4), fill) for portion, fill in zip(portions, fills, strict=True)]
        total = sum(portion.rows for portion in portions)
        return torch.cat(rows), torch.zeros(3, total)

    def hand_on(self, *_: object) -> None:
        return None

    def find_lateness_s(self, replies: Iterable[ToyReply], now_s: float) -> float:
        return max((reply.find_lateness_s(now_s) for reply in replies), default=0.0)

    def close(self) -> None:
        self.closed = True


class CountingStage(ToyStage):
    """Compares where a layout says that each single row stands with what its turn says."""

    def __init__(self) -> None:
        super().__init__(decoder=self)
        self.seen: list[Layout] = []
        self.lengths: list[tuple[list[int], list[int]]] = []
        """Of each step: as the turns and as the layout had them."""
        self.seats: list[list[int]] = []
        self._fed: list[int] = []

    def gather(self, portions: Sequence[Portion[ToyReply]]) -> tuple[torch.Tensor, torch.Tensor]:
        self._fed = [portion.reply.fed + 1 for portion in portions if portion.rows == 1]
        return super().gather(portions)

    def forward(self, rows: torch.Tensor, _: torch.Tensor, layout: Layout, cache: KVCache) -> torch.Tensor:
        pages = layout.pages
        self.seen.append(layout)
        self.lengths.append((self._fed, [] if pages is None else pages.lengths.tolist()))
        self.seats.append([] if pages is None else pages.seats.tolist())
        if (rows == -1).any():
            raise RuntimeError("the device is on fire")
        return rows

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.clone()


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class World:
    stage: ToyStage
    loop: StepLoop[Order, int]
    pool: BlockPool
    cache: KVCache
    clock: Clock

    def open(self, session: str, order: Order | None = None) -> Listener[int]:
        listener: Listener[int] = Listener()
        self.loop.open(session, order or Order(), listener)
        return listener


Build = Callable[..., World]


@pytest.fixture
def build() -> Iterator[Build]:
    """Makes worlds and ends them."""
    worlds: list[World] = []

    def make(stage: ToyStage | None = None, *, paged: bool = False, **settings: Any) -> World:
        stage = stage or ToyStage()
        pool = BlockPool(blocks=BLOCKS, block_tokens=4)
        limits = StageSettings(stage=Stage.THINKER, checkpoint="", **settings)
        device, dtype = torch.device("cpu"), torch.float32
        cache = KVCache(SHAPE, pool, seats=limits.max_turns, device=device, dtype=dtype, paged=paged)
        clock = Clock()
        worlds.append(World(stage, StepLoop(stage, cache, pool, limits, clock), pool, cache, clock))
        return worlds[-1]

    yield make
    for world in worlds:
        world.loop.shutdown()


def test_a_turn_says_its_tokens_and_ends(build: Build) -> None:
    """One step for the prompt, one for each further token."""
    world = build()
    listener = world.open("a", Order(prompt=5, tokens=3))
    assert listener.end() is None
    assert listener.outputs == [1, 2, 3]
    assert world.stage.steps == [[5], [1], [1]]


def test_turns_join_a_step_and_leave_it(build: Build) -> None:
    """A long prompt is fed in chunks while the others go on."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate), chunk_tokens=8)
    orders = [Order(prompt=1, tokens=4), Order(prompt=19, tokens=1), Order(prompt=2, tokens=1)]
    listeners = [world.open(f"{number}", order) for number, order in enumerate(orders)]
    gate.set()
    assert [listener.end() for listener in listeners] == [None] * 3
    assert sum(map(sum, world.stage.steps)) == 4 + 19 + 2
    assert max(map(sum, world.stage.steps)) <= 8 + 1


def test_a_step_that_fails_while_turns_go_on_is_taken_again_without_the_culprit(build: Build) -> None:
    """Where each stands is still right after it."""
    stage = CountingStage()
    world = build(stage, paged=True, max_turns=4)
    stayed = [world.open(f"stays {number}", Order(prompt=number, tokens=24)) for number in (1, 6)]
    broken = world.open("breaks", Order(prompt=1, tokens=24, fails_at="step", fails_after=8))
    assert broken.end_type() == "internal"
    assert [listener.end() for listener in stayed] == [None, None]
    assert [listener.outputs[-1] for listener in stayed] == [24, 24]
    assert [had for _, had in stage.lengths] == [wanted for wanted, _ in stage.lengths]
    assert len({id(layout) for layout in stage.seen}) < len(stage.seen)


def test_a_layout_goes_on_only_with_the_turns_that_it_was_made_for(build: Build) -> None:
    """Names come again at once, with one row for a prompt; first alone, then beside turns that go on."""
    stage = CountingStage()
    world = build(stage, paged=True, max_turns=4)
    for _ in range(2):
        assert world.open("comes again", Order(prompt=1, tokens=3)).end() is None
    stayed = [world.open(f"stays {number}", Order(prompt=number, tokens=24)) for number in (1, 6)]
    for number in range(12):
        assert world.open("comes again", Order(prompt=1 + number % 3, tokens=1 + number % 4)).end() is None
    assert [listener.end() for listener in stayed] == [None, None]
    assert [had for _, had in stage.lengths] == [wanted for wanted, _ in stage.lengths]
    assert all(len({*seats}) == len(seats) for seats in stage.seats)
    assert len({id(layout) for layout in stage.seen}) < len(stage.seen)


@pytest.mark.parametrize("point", ["begin", "receive", "step"])
def test_a_failing_turn_ends_alone(build: Build, point: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where only its own step can fail, that is; the next turns are served."""
    world = build(max_turns=1)
    caplog.set_level(logging.CRITICAL)
    bad, good = world.open("bad", Order(fails_at=point)), world.open("good")
    assert bad.end_type() == "internal"
    assert "toy" not in str(bad.end())
    assert good.end() is None
    assert world.pool.free == BLOCKS


@pytest.mark.parametrize("point", ["receive", "step"])
def test_a_turn_that_fails_in_a_crowd_takes_nobody_along(build: Build, point: str) -> None:
    """Its neighbours in the step keep their tokens."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate))
    good, bad, poisoned, other = (
        world.open("good", Order(tokens=6)),
        world.open("bad", Order(fails_at=point)),
        world.open("poisoned", Order(poison=True)),
        world.open("other", Order(tokens=6)),
    )
    gate.set()
    assert [each.end_type() for each in (bad, poisoned)] == ["internal", "internal"]
    assert [each.end() for each in (good, other)] == [None, None]
    assert good.outputs == other.outputs == [1, 2, 3, 4, 5, 6]


def test_a_turn_that_is_cancelled_leaves_no_nan_behind(build: Build) -> None:
    """Its scores were not looked at yet; whoever gets its memory would read them through masked keys."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate), chunk_tokens=8)
    gone = world.open("gone", Order(prompt=60, poison=True))
    assert world.stage.entered.wait(WAIT_S)
    world.loop.cancel("gone")
    gate.set()
    assert gone.end_type() == "cancelled"
    assert world.stage.steps == [[8]]
    assert world.cache.memory.isfinite().all()


def test_a_device_that_is_lost_ends_every_turn(build: Build) -> None:
    """Though their memory cannot be wiped any more, their clients are told."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate))
    listeners = [world.open(session) for session in "ab"]
    del world.cache.memory
    gate.set()
    assert [listener.end_type() for listener in listeners] == ["internal", "internal"]
    assert world.open("late").end_type() == "internal"


@pytest.mark.parametrize("point", ["device", "device at begin", "device at receive"])
def test_a_device_that_fails_for_good_ends_the_stage(
    build: Build, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """In a step or before it: its thread ends with the error, after every turn was told, to be replaced."""
    ended = threading.Event()
    seen: list[type[BaseException]] = []

    def note(last: threading.ExceptHookArgs) -> None:
        seen.append(last.exc_type)
        ended.set()

    monkeypatch.setattr(threading, "excepthook", note)
    gate = threading.Event()
    world = build(ToyStage(gate=gate))
    listeners = [world.open("a", Order(fails_at=point)), world.open("b")]
    gate.set()
    assert [listener.end_type() for listener in listeners] == ["internal", "internal"]
    assert ended.wait(WAIT_S)
    assert seen == [DeviceLost]


def test_a_failing_step_ends_the_turns_in_it_and_no_others(build: Build) -> None:
    """A turn whose input is not there yet is not in the step."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate))
    waiting = world.open("waiting", Order(held=True))
    first, second = world.open("first", Order(fails_at="step")), world.open("second", Order(fails_at="step"))
    gate.set()
    assert [first.end_type(), second.end_type()] == ["internal", "internal"]
    world.loop.feed("waiting", Order())
    assert waiting.end() is None
    assert world.pool.free == BLOCKS


def test_a_stage_may_refuse_a_turn(build: Build) -> None:
    """In its own words, field and all."""
    world = build()
    failure = world.open("a", Order(fails_at="open")).end()
    assert failure == StageFailure(type="invalid_request", message="not this one", param="toys")
    assert world.open("a").end() is None


def test_a_session_is_open_only_once(build: Build) -> None:
    """The second is refused; the first goes on."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate))
    first, second = world.open("a"), world.open("a")
    gate.set()
    assert second.end_type() == "invalid_request"
    assert first.end() is None
    assert world.open("a").end() is None


@pytest.mark.parametrize("order", [Order(tokens=10_000), Order(held=True)])
def test_a_client_that_leaves_frees_its_place_at_once(build: Build, order: Order) -> None:
    """Whether the turn is being stepped or waits for input."""
    world = build(max_turns=1)
    order.tokens = min(order.tokens, 4 * BLOCKS - order.prompt)
    gone = world.open("gone", order)
    gone.has_gone = True
    next_one = world.open("next")
    assert gone.end_type() == "cancelled"
    assert next_one.end() is None
    assert world.pool.free == BLOCKS


def test_of_many_clients_the_one_that_left_is_found(build: Build) -> None:
    """However few are asked at a time."""
    world = build(max_turns=2)
    listeners = [world.open(f"{number}", Order(held=True)) for number in range(12)]
    listeners[-1].has_gone = True
    assert listeners[-1].end_type() == "cancelled"
    for number in range(11):
        world.loop.feed(f"{number}", Order())
    assert [listener.end() for listener in listeners[:-1]] == [None] * 11


def test_a_turn_can_be_cancelled_by_name(build: Build) -> None:
    """While it waits for a place, too; an unknown name is nobody's."""
    world = build(max_turns=1)
    running, waiting = world.open("running", Order(held=True)), world.open("waiting")
    world.loop.cancel("waiting")
    world.loop.cancel("running")
    world.loop.cancel("unknown")
    assert [running.end_type(), waiting.end_type()] == ["cancelled", "cancelled"]
    assert world.open("next").end() is None


def test_turns_wait_for_memory_and_get_it_in_order(build: Build) -> None:
    """The pool holds one such turn at a time."""
    world = build()
    listeners = [world.open(f"{number}", Order(prompt=100, tokens=3)) for number in range(4)]
    assert [listener.end() for listener in listeners] == [None] * 4
    assert world.pool.free == BLOCKS


def test_a_turn_that_waits_too_long_is_refused(build: Build) -> None:
    """As overloaded; those who run go on."""
    gate = threading.Event()
    world = build(ToyStage(gate=gate), max_turns=1, queue_s=5.0)
    running, waiting = world.open("running", Order(tokens=3)), world.open("waiting")
    world.clock.now_s = 6.0
    gate.set()
    assert waiting.end_type() == "overloaded"
    assert running.end() is None


def test_more_turns_than_may_wait_are_refused_at_once(build: Build) -> None:
    """One runs, two wait, the rest are told."""
    world = build(max_turns=1, queue_turns=2)
    listeners = [world.open(f"{number}", Order(held=number == 0)) for number in range(5)]
    assert [listener.end_type() for listener in listeners[3:]] == ["overloaded", "overloaded"]
    world.loop.feed("0", Order())
    assert [listener.end() for listener in listeners[:3]] == [None] * 3


def test_a_thousand_quick_turns_leave_no_block_behind(build: Build) -> None:
    """Ended, cancelled, failed, gone: every way out returns what was taken."""
    world = build(max_turns=8, queue_turns=2000)
    ways = [
        Order(),
        Order(tokens=60),
        Order(fails_at="receive"),
        Order(fails_at="begin"),
        Order(fails_at="step"),
        Order(held=True),
        Order(poison=True),
        Order(fails_at="close"),
    ]
    listeners = []
    for number in range(1000):
        listeners.append(world.open(f"{number}", ways[number % len(ways)]))
        if number % 3 == 0:
            world.loop.cancel(f"{number - 1}")
        if number % 5 == 0:
            listeners[-1].has_gone = True
    for number, listener in enumerate(listeners):
        if ways[number % len(ways)].held:
            listener.has_gone = True
    assert {listener.end_type() for listener in listeners} == {"ended well", "cancelled", "internal"}
    assert world.pool.free == BLOCKS
    assert all(reply.closed == 1 for reply in world.stage.replies)


def test_the_load_tells_turns_memory_and_lateness(build: Build) -> None:
    """Gateways choose replicas by it."""
    world = build(max_turns=1)
    orders = [Order(held=True, prompt=60, tokens=4), Order()]
    listeners = [world.open(session, order) for session, order in zip("ab", orders, strict=True)]
    world.clock.now_s = 3.5
    for _ in range(4):  # the semaphore's first permit, then a whole round that began after the clock was set
        assert orders[1].measured.acquire(timeout=WAIT_S)
    load = world.loop.load()
    assert (load.turns, load.waiting, load.kv_used, load.lateness_s) == (1, 1, 15 / 32, 2.5)
    for session in "ba":
        world.loop.cancel(session)
    assert [listener.end_type() for listener in listeners] == ["cancelled", "cancelled"]


def test_a_shutdown_ends_all_turns_and_refuses_new_ones(build: Build) -> None:
    """Whether they run or wait; nothing is left behind."""
    world = build(max_turns=1)
    listeners = [world.open("running", Order(held=True)), world.open("waiting")]
    world.loop.shutdown()
    listeners.append(world.open("late"))
    assert [listener.end_type() for listener in listeners] == ["cancelled"] * 3
    assert world.stage.closed
    assert world.pool.free == BLOCKS
