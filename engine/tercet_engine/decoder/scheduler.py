"""Which turns run, and what each contributes to the next step. Pure Python; time is an argument.

Driven by the step loop: `join` when a turn's size is known, then each round `admit` and `expire`, then
`plan` with the rows whose inputs are there, and `leave` when a turn has ended for whatever reason. Places
and KV blocks are handed out by deadline, earliest first, strictly in that order, so that a large turn
cannot be passed by for ever; equal deadlines go by arrival.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tercet_engine.decoder.blocks import BlockPool, Grant, Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_turns: int
    queue_turns: int
    queue_s: float
    chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A turn that asks for a place. `tokens` is the most that it can ever keep in the KV cache."""

    session: str
    tokens: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    ticket: Ticket
    grant: Grant


class Scheduler:
    def __init__(self, limits: Limits, pool: BlockPool) -> None:
        self._limits = limits
        self._pool = pool
        self._waiting: dict[str, Ticket] = {}
        self._running: dict[str, _Place] = {}

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
        self._pool.know(place.grant.blocks, place.ticket.prefix.keys)

    def leave(self, session: str) -> list[int]:
        """Forget a turn, waiting or running, and take its blocks back. Unknown names are ignored.

        Returns the blocks whose content nobody can ask for any more.
        """
        self._waiting.pop(session, None)
        place = self._running.pop(session, None)
        return [] if place is None else self._pool.give_back(place.grant.blocks)

    def admit(self) -> list[tuple[str, Grant]]:
        """Give places, and blocks for the worst case, to as many waiting turns as there is room for."""
        admitted = []
        for ticket in sorted(self._waiting.values(), key=lambda ticket: ticket.rank):
            if len(self._running) >= self._limits.max_turns:
                break
            grant = self._pool.take(ticket.tokens, ticket.prefix.keys[: ticket.prefix.usable])
            if grant is None:
                break
            del self._waiting[ticket.session]
            self._running[ticket.session] = _Place(ticket=ticket, grant=grant)
            admitted.append((ticket.session, grant))
        return admitted

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

    def plan(self, ready: Mapping[str, int], paced_rows: int | None = None) -> list[Share]:
        """The next step, of the running turns whose next `ready` rows are there.

        Every single row takes part, which is each decoding turn's next token; longer runs are prompts and
        share `chunk_tokens`, or `paced_rows` where they do not fit into a chunk. A turn that is not in
        `ready`, or has no rows there, sits the step out.
        """
        shares = []
        budget = self._limits.chunk_tokens
        for session in sorted(ready, key=lambda session: self._running[session].ticket.rank):
            rows = ready[session]
            if rows > self._limits.chunk_tokens and paced_rows is not None:
                rows = min(paced_rows, budget)
            elif rows > 1:
                rows = min(rows, budget)
            if rows == 0:
                continue
            if ready[session] > 1:
                budget -= rows
            shares.append(Share(session=session, rows=rows))
        return shares
