"""Which replicas may take a turn, best first: a turn stays within one generation from its thinker on.

States and codes must come from servers that agree on weights and settings, so a generation may begin turns
only when each of its stages has a ready replica. Called by `pool`; pure.
"""

from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

from tercet_wire.names import Stage


class Standing(Protocol):
    """What a choice knows of a replica. `rank`: lowest first."""

    @property
    def generation(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    @property
    def is_ready(self) -> bool: ...

    def rank(self, now_s: float) -> tuple[bool, int, int]: ...


Candidate = TypeVar("Candidate", bound=Standing)


def list_open_generations(
    replicas: Iterable[Standing], serving: Collection[str], stages: frozenset[Stage]
) -> frozenset[str]:
    """Those that may begin turns. `serving` empty: nobody has said yet, so each that is complete."""
    ready: dict[str, set[Stage]] = {}
    for replica in replicas:
        if replica.is_ready:
            ready.setdefault(replica.generation, set()).add(replica.stage)
    return frozenset(
        generation
        for generation, found in ready.items()
        if stages <= found and (not serving or generation in serving)
    )


def rank_openers(
    replicas: Iterable[Candidate], generations: Collection[str], now_s: float
) -> list[Candidate]:
    """Thinkers that may begin a turn, over all these generations."""
    thinkers = [
        replica
        for replica in replicas
        if replica.stage is Stage.THINKER and replica.is_ready and replica.generation in generations
    ]
    return sorted(thinkers, key=lambda replica: replica.rank(now_s))


def rank_followers(
    replicas: Iterable[Candidate], stage: Stage, generation: str, now_s: float
) -> list[Candidate]:
    """Replicas for a stage of a turn that has begun; one that is about to go only when no other is left."""
    hosts = [replica for replica in replicas if replica.stage is stage and replica.generation == generation]
    return sorted(hosts, key=lambda replica: (not replica.is_ready, replica.rank(now_s)))
