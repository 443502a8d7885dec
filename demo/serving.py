"""How fast a checkpoint talks when it is served as `examples/demo.yaml` says: through gateway and Triton."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import yaml
from tercet_cli.measuring import measure_run
from tercet_cli.servers import Request, Server, find_model
from tercet_cli.sources import DEFAULT_CACHE

from bench.product import serve

_EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "demo.yaml"
_TURNS_AT_ONCE: Final = (1, 4)
_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Of some turns at once: medians, and the longest time that a listener heard nothing in between."""

    at_once: int
    ttfa_s: float
    rtf: float
    longest_underrun_s: float


def measure_pace(checkpoint: Path, question: str) -> list[Pace]:
    deployment: dict[str, Any] = yaml.safe_load(_EXAMPLE.read_text())
    deployment["spec"]["model"]["source"] = f"file://{checkpoint.resolve()}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "demo.yaml"
        file.write_text(yaml.safe_dump(deployment))
        with serve(DEFAULT_CACHE, file) as product:
            return [_ask(product.server, question, at_once) for at_once in _TURNS_AT_ONCE]


def _ask(server: Server, question: str, at_once: int) -> Pace:
    request = Request(
        model=find_model(server, None), messages=[{"role": "user", "content": question}], speech=True
    )
    asyncio.run(measure_run(server, [request] * at_once, at_once=at_once))  # warms up
    run = asyncio.run(measure_run(server, [request] * (_ROUNDS * at_once), at_once=at_once))
    return Pace(
        at_once=at_once,
        ttfa_s=_median([turn.ttfa_s for turn in run.turns]),
        rtf=_median([turn.rtf for turn in run.turns]),
        longest_underrun_s=max(turn.underrun_s or 0.0 for turn in run.turns),
    )


def _median(values: Sequence[float | None]) -> float:
    return median(value for value in values if value is not None)
