"""The servers of one deployment, as settings or cluster name them. Plain data.

Built by `models` and `cluster.view`, carried out by `pool`.
"""

from dataclasses import dataclass

from tercet_wire.names import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One Triton server. Not ready: it ends the turns of its generation, and begins none."""

    address: str
    stages: frozenset[Stage]
    generation: str = ""
    is_ready: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`serving`: the generations that may begin turns, none named: all; `stages`: what each must have."""

    endpoints: tuple[Endpoint, ...] = ()
    serving: frozenset[str] = frozenset()
    stages: frozenset[Stage] = frozenset(Stage)
