"""What thinker and talker add to the step loop: where a turn's inputs come from and its outputs go.

The loop knows a turn as a `Reply` and the network's surroundings as a `DecoderStage`; both are called
from the loop's thread only. Everything else, such as places, memory and failures, is the loop's business.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

import torch
from tercet_wire.messages import Load, StageEvent, TokenLogprob, Usage

from tercet_engine.decoder.blocks import Prefix, Size
from tercet_engine.decoder.model import Decoder
from tercet_engine.decoder.sampling import Picked, Picker
from tercet_engine.stage import Sink

Input = TypeVar("Input")
Input_contra = TypeVar("Input_contra", contravariant=True)
Output = TypeVar("Output")
ReplyT = TypeVar("ReplyT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet(Generic[Output]):
    """What a reply may use of the loop: its sink, the clock, the load to report."""

    sink: Sink[Output]
    arrived_s: float
    clock: Callable[[], float]
    load: Callable[[], Load]
    later: Callable[[Callable[[], None]], None]
    """Call this from another thread to have something done on the loop's, within the turn."""

    def event(
        self,
        *,
        finish_reason: Literal["stop", "length"] | None = None,
        usage: Usage | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> StageEvent:
        """What goes beside a message that is sent now."""
        return StageEvent(
            finish_reason=finish_reason,
            usage=usage,
            logprobs=logprobs,
            load=self.load(),
            elapsed_s=self.clock() - self.arrived_s,
        )


class Portion(NamedTuple, Generic[ReplyT]):
    """The rows that one reply contributes to a step."""

    reply: ReplyT
    rows: int


class Reply(Protocol[Input_contra]):
    """One turn in its stage. Any method may raise StageError, which ends this turn only."""

    due_s: float
    """When its first sound is due, in seconds after its arrival."""
    fed: int
    """Rows that the decoder has kept of it."""
    ended: bool
    """Its last output has been sent."""
    prefix: Prefix
    """Told with its size: what others may have computed for it, and it for others."""

    def feed(self, more: Input_contra) -> None:
        """More input for a turn that is open."""

    def size(self) -> Size | None:
        """None until that is known."""

    def begin(self, known_blocks: int) -> Picker:
        """It has been given a place. Called once, before any row is asked for.

        As many leading blocks of its prefix hold its keys and values already; their rows are fed.
        """

    def ready(self) -> int:
        """Rows whose inputs are there."""

    def completes_with(self, rows: int) -> bool:
        """A token follows from the last of the next `rows` rows."""

    def receive(self, rows: int, states: torch.Tensor | None, picked: Picked | None) -> None:
        """What came of its next `rows` rows; `picked` if they complete."""

    def close(self) -> None:
        """Give up what it still has going on elsewhere; called once, at its end."""


class DecoderStage(Protocol[Input_contra, Output, ReplyT]):
    decoder: Decoder

    def open(self, first: Input_contra, outlet: Outlet[Output]) -> ReplyT: ...

    def gather(self, portions: Sequence[Portion[ReplyT]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The inputs of a step: rows (rows, hidden) and positions (3, rows), in the order of the portions."""

    def hand_on(
        self, portions: Sequence[Portion[ReplyT]], rows: torch.Tensor, hidden: torch.Tensor
    ) -> torch.Tensor | None:
        """What the next stage gets for each row, if any portion wants it; on the stage's device."""

    def find_lateness_s(self, replies: Iterable[ReplyT], now_s: float) -> float:
        """How far behind its listener the latest of these is; 0 if all are in time."""

    def close(self) -> None: ...
