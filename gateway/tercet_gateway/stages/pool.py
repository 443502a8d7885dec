"""The replicas of a deployment's stages, generation by generation: which one takes a turn, and who serves.

A catalog feeds a pool with the servers there are, which come and go under running turns. `turns` is handed a
`PinnedStages` for each turn and gets streams from it: to the replica that carries the fewest turns of ours,
and from the thinker on within one generation. A turn is counted as long as its stream is held.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from tercet_wire.names import Stage

from tercet_gateway.errors import unavailable_error
from tercet_gateway.stages.checking import Checks
from tercet_gateway.stages.choosing import list_open_generations, rank_followers, rank_openers
from tercet_gateway.stages.fleet import Endpoint, Fleet
from tercet_gateway.stages.replica import Replica
from tercet_gateway.stages.server import Server, ServerUnreachable
from tercet_gateway.stages.stream import StageStream

_Place = tuple[str, str, frozenset[Stage]]
"""Generation, address and stages: a server that differs in one of them is another."""


def _ignore() -> None:
    return


class StagePool:
    """`changed` is called when `count_reachable` may have changed. `close` ends it, running turns or not."""

    def __init__(self, checks: Checks, connect_s: float, changed: Callable[[], None] = _ignore) -> None:
        self._checks = checks
        self._changed = changed
        self._servers: dict[_Place, Server] = {}
        self._replicas: list[Replica] = []
        self._open: frozenset[str] = frozenset()
        self.connect_s = connect_s

    async def update(self, fleet: Fleet) -> None:
        """From now on these are the servers; those that left go when their last stream is done."""
        wanted = {
            (endpoint.generation, endpoint.address, endpoint.stages): endpoint for endpoint in fleet.endpoints
        }
        leaving = [self._servers.pop(place) for place in self._servers.keys() - wanted.keys()]
        self._replicas = [replica for replica in self._replicas if replica.server not in leaving]
        for place, endpoint in wanted.items():
            if place not in self._servers:
                self._servers[place] = self._add_server(endpoint)
            self._servers[place].set_ready(endpoint.is_ready)
        self._open = list_open_generations(self._replicas, fleet.serving, fleet.stages)
        self._changed()
        for server in leaving:
            self._checks.remove(server)
            await server.retire()

    def _add_server(self, endpoint: Endpoint) -> Server:
        server = Server(endpoint.address, endpoint.stages, self._changed)
        self._replicas.extend(Replica(server, stage, endpoint.generation) for stage in endpoint.stages)
        self._checks.add(server)
        return server

    # --- turns ---------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a generation may begin turns."""
        return bool(self._open)

    def pin(self) -> "PinnedStages":
        """For one turn."""
        return PinnedStages(self)

    def rank_openers(self) -> list[Replica]:
        return rank_openers(self._replicas, self._open, _now_s())

    def rank_followers(self, stage: Stage, generation: str) -> list[Replica]:
        return rank_followers(self._replicas, stage, generation, _now_s())

    # --- who serves ----------------------------------------------------------------------------

    def count_reachable(self) -> dict[str, dict[str, int]]:
        """Ready replicas that were seen to serve, of generations that may begin turns, by these and stage."""
        counts: dict[str, Counter[str]] = {}
        for replica in self._replicas:
            if replica.is_reachable and replica.generation in self._open:
                counts.setdefault(replica.generation, Counter())[replica.stage.value] += 1
        return {generation: dict(stages) for generation, stages in counts.items()}

    async def list_unready(self) -> list[Stage]:
        """Stages that no replica serves, asked just now."""
        serves = await asyncio.gather(*(replica.server.serves(replica.stage) for replica in self._replicas))
        ready = {replica.stage for replica, is_ready in zip(self._replicas, serves, strict=True) if is_ready}
        return [stage for stage in Stage if stage not in ready]

    async def close(self) -> None:
        for server in self._servers.values():
            self._checks.remove(server)
            await server.close()


class PinnedStages:
    """The stages of one turn. Its thinker is opened first, and chooses the generation of the others."""

    def __init__(self, pool: StagePool) -> None:
        self._pool = pool
        self._generation = ""
        self._is_settled = False

    def settle(self) -> None:
        """The thinker has spoken: should it be opened again, then in the same generation."""
        self._is_settled = True

    @asynccontextmanager
    async def stream(self, stage: Stage, turn_id: str) -> AsyncIterator[StageStream]:
        """A stream to the best replica that can be reached; GatewayError if none can."""
        async with AsyncExitStack() as held:
            yield await self._enter(held, stage, turn_id)

    async def _enter(self, held: AsyncExitStack, stage: Stage, turn_id: str) -> StageStream:
        for replica in self._rank(stage):
            try:
                stream = await held.enter_async_context(replica.stream(turn_id, self._pool.connect_s))
            except ServerUnreachable:
                continue
            self._generation = replica.generation
            return stream
        raise unavailable_error(f"{stage}: no replica can be reached")

    def has_willing(self, stage: Stage) -> bool:
        """Whether there is a replica that has not just refused a turn, or been out of reach."""
        now_s = _now_s()
        return not all(replica.rests(now_s) for replica in self._rank(stage))

    def _rank(self, stage: Stage) -> list[Replica]:
        if stage is Stage.THINKER and not self._is_settled:
            return self._pool.rank_openers()
        return self._pool.rank_followers(stage, self._generation)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
