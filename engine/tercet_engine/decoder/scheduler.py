"""Which turns run, what each contributes to the next step, and which memory it gets for that. Pure Python;
time is an argument.

Driven by the step loop: `join` when a turn's size is known, then each round `admit` and `expire`, then
`plan` with the rows whose inputs are there, and `leave` when a turn has ended for whatever reason. Places
and KV blocks are handed out by deadline, earliest first, strictly in that order, so that a large turn
cannot be passed by for ever; equal deadlines go by arrival.

A turn is admitted with the blocks of its prompt and takes others as it grows, so that memory is not kept for
tokens that are never written. More turns may run than fit at their longest, as replies are mostly shorter;
how much shorter is learned from those that ended. That none of them waits for another for ever is the
banker's algorithm (Dijkstra, EWD 108): a block is only given while there is an order in which all of them
could grow to their longest and end, one after the other. Nor do they wait for newcomers: nobody is admitted
while one who runs lacks a block.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tercet_engine.decoder.blocks import BlockPool, Grant, Prefix, Size

_MEMORY: Final = 0.97
"""What an ended turn still counts after the next: the last thirty or so decide, and of fewer all alike."""
_MARGIN: Final = 1.5
"""Over the mean of what turns wrote: that turns sit out because many are long at once is to be rare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_turns: int
    queue_turns: int
    queue_s: float
    chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A turn that asks for a place. `size`: what it will keep in the KV cache."""

    session: str
    size: Size
    due_s: float
    arrived_s: float
    prefix: Prefix = field(default_factory=Prefix)

    @property
    def rank(self) -> tuple[float, float]:
        return (self.due_s, self.arrived_s)


class Share(NamedTuple):
    """What one turn contributes to a step: its next `rows` inputs."""

    session: str
    rows: int


class StepPlan(NamedTuple):
    """The next step, and the blocks that some of its turns got for it."""

    shares: list[Share]
    grown: dict[str, tuple[int, ...]]


@dataclass(slots=True, kw_only=True)
class _Place:
    ticket: Ticket
    blocks: list[int]
    fed: int
    """Rows that it has been given a step for."""
    room: int
    """More rows that it has blocks for."""
    single: Share
    """What it contributes to most steps."""


class Scheduler:
    def __init__(self, limits: Limits, pool: BlockPool) -> None:
        self._limits = limits
        self._pool = pool
        self._waiting: dict[str, Ticket] = {}
        self._running: dict[str, _Place] = {}
        """By rank."""
        self._missing = 0
        """Blocks that all of them may yet need."""
        self._lacking: set[str] = set()
        """Those that had a row ready for the last step and no block for it."""
        self._own: dict[str, int] = {}
        """Blocks that nobody else holds, of the turns asked about since one last came or went."""
        self._written_share = 1.0
        """Of what it may write, what a turn does write: a mean over one that wrote all and all that ended."""
        self._ended = 1

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_used(self) -> float:
        return 1 - self._pool.free / self._pool.blocks

    def join(self, ticket: Ticket) -> None:
        """Let a turn wait for a place; it must be able to fit, and its name be new."""
        self._waiting[ticket.session] = ticket

    def learn(self, session: str) -> None:
        """A running turn has its prompt behind it: other turns may share those blocks."""
        place = self._running[session]
        self._pool.know(place.blocks, place.ticket.prefix.keys)

    def leave(self, session: str) -> list[int]:
        """Forget a turn, waiting or running, and take its blocks back. Unknown names are ignored.

        Returns the blocks whose content nobody can ask for any more.
        """
        self._waiting.pop(session, None)
        place = self._running.pop(session, None)
        if place is None:
            return []
        self._missing -= self._missing_of(place)
        self._lacking.discard(session)
        self._own.clear()
        prompt, most = place.ticket.size
        if place.fed >= prompt and most > prompt:
            share = (place.fed - prompt) / (most - prompt)
            self._ended += 1
            self._written_share += max(1 - _MEMORY, 1 / self._ended) * (share - self._written_share)
        return self._pool.give_back(place.blocks)

    def admit(self) -> list[tuple[str, Grant]]:
        """Give places, and blocks for their prompts, to as many waiting turns as there is room for."""
        admitted: list[tuple[str, Grant]] = []
        for ticket in sorted(self._waiting.values(), key=lambda ticket: ticket.rank):
            if self._lacking or len(self._running) >= self._limits.max_turns:
                break
            grant = self._admit(ticket)
            if grant is None:
                break
            del self._waiting[ticket.session]
            admitted.append((ticket.session, grant))
        if admitted:
            self._running = dict(sorted(self._running.items(), key=lambda item: item[1].ticket.rank))
        return admitted

    def _admit(self, ticket: Ticket) -> Grant | None:
        (prompt, most), prefix = ticket.size, ticket.prefix
        keys = prefix.keys[: prefix.usable]
        missing = self._pool.blocks_for(most) - self._pool.blocks_for(prompt)
        if not self._has_room(self._pool.count_taken(prompt, keys), missing):
            return None
        grant = self._pool.take(prompt, keys)
        known = grant.known * self._pool.block_tokens
        single = Share(session=ticket.session, rows=1)
        room = len(grant.blocks) * self._pool.block_tokens - known
        place = _Place(ticket=ticket, blocks=list(grant.blocks), fed=known, room=room, single=single)
        self._running[ticket.session] = place
        self._missing += missing
        self._own.clear()
        if self._is_safe():
            return grant
        self._missing -= missing
        self._own.clear()
        self._pool.give_back(self._running.pop(ticket.session).blocks)
        return None

    def _has_room(self, taken: int, missing: int) -> bool:
        """For one more, for what all are then likely to need yet, and for one of them to write all it may."""
        free = self._pool.free - taken
        total = self._missing + missing
        if total <= free:
            return True
        likely = total * min(1.0, _MARGIN * self._written_share)
        return likely + min([missing, *map(self._missing_of, self._running.values())]) <= free

    def _missing_of(self, place: _Place) -> int:
        return self._pool.blocks_for(place.ticket.size.most) - len(place.blocks)

    def _is_safe(self, growing: _Place | None = None) -> bool:
        """Whether all who run could end one after the other, those who lack least first; with one more block
        for `growing`.
        """
        if self._missing <= self._pool.free:
            return True
        free = self._pool.free - (growing is not None)
        ends = sorted(
            (self._missing_of(place) - (place is growing), self._count_own(place) + (place is growing))
            for place in self._running.values()
        )
        for missing, own in ends:
            if missing > free:
                return False
            free += own
        return True

    def _count_own(self, place: _Place) -> int:
        session = place.ticket.session
        if session not in self._own:
            self._own[session] = self._pool.count_own(place.blocks)
        return self._own[session]

    def _grow(self, place: _Place, rows: int) -> tuple[int, ...]:
        """Blocks for so many more rows of a turn, as far as they can be given."""
        more: list[int] = []
        while place.room < rows and self._pool.free and self._is_safe(place):
            more.append(self._pool.take_one())
            place.blocks.append(more[-1])
            place.room += self._pool.block_tokens
            self._missing -= 1
            if place.ticket.session in self._own:
                self._own[place.ticket.session] += 1
        return tuple(more)

    def expire(self, now_s: float) -> list[str]:
        """Drop those who have waited too long, and the latest comers if too many wait. After `admit`."""
        by_arrival = sorted(self._waiting.values(), key=lambda ticket: ticket.arrived_s)
        dropped = [
            ticket.session
            for number, ticket in enumerate(by_arrival)
            if number >= self._limits.queue_turns or now_s - ticket.arrived_s >= self._limits.queue_s
        ]
        for session in dropped:
            del self._waiting[session]
        return dropped

    def plan(self, ready: Mapping[str, int], paced_rows: int | None = None) -> StepPlan:
        """The next step, of the running turns whose next `ready` rows are there.

        Every single row takes part, which is each decoding turn's next token; longer runs are prompts and
        share `chunk_tokens`, or `paced_rows` where they do not fit into a chunk. A turn that is not in
        `ready`, has no rows there or no memory for them, sits the step out.
        """
        shares = []
        grown = {}
        self._lacking.clear()
        budget = self._limits.chunk_tokens
        for session, place in self._running.items():
            rows = ready.get(session, 0)
            if rows > self._limits.chunk_tokens and paced_rows is not None:
                rows = min(paced_rows, budget)
            elif rows > 1:
                rows = min(rows, budget)
            if rows > place.room:
                if blocks := self._grow(place, rows):
                    grown[session] = blocks
                if rows > place.room:
                    self._lacking.add(session)
                    rows = place.room
            if rows == 0:
                continue
            if ready[session] > 1:
                budget -= rows
            place.fed += rows
            place.room -= rows
            shares.append(place.single if rows == 1 else Share(session=session, rows=rows))
        return StepPlan(shares=shares, grown=grown)
