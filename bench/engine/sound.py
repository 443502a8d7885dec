"""Code2wav through its seam: single windows, the same speech whole and streamed, and a long turn's cost."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any, Final
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from tercet_engine.code2wav.windows import BLOCK_CODES
from tercet_engine.stage import Code2WavInput, Code2WavOutput, StageEngine
from tercet_wire.names import CODES_PER_S, Stage
from tercet_wire.settings import Solver, WindowSettings

from bench.engine.engines import Engines, build_settings
from bench.engine.models import CODES
from bench.engine.records import Recorder
from bench.engine.turns import Inbox, build_turn, time_all, time_first

SOLVERS: Final[tuple[tuple[Solver, int], ...]] = (("rk4", 10), ("midpoint", 6), ("euler", 6))
CROWD: Final = 8
FIRST_CODES: Final = 8
BLOCKS: Final = (1, 2, 4)
TWO_BLOCKS: Final = WindowSettings(first_codes=24, blocks=2, max_blocks=2)
WHOLE: Final = WindowSettings(mode="whole")


def measure(engines: Engines, record: Recorder) -> None:
    _measure_windows(engines, record)
    _measure_replies(engines, record)
    _measure_growth(engines, record)


def _measure_windows(engines: Engines, record: Recorder) -> None:
    """The first windows of turns that begin together: no window is alone in having a past."""
    amounts = engines.plan.amounts
    for solver, points in SOLVERS:
        for codes in (FIRST_CODES, *(BLOCK_CODES * blocks for blocks in BLOCKS)):
            window = WindowSettings(first_codes=codes, solver=solver, points=points)
            for turns in (1, CROWD):
                inputs = [build_input(codes, window, last=False) for _ in range(turns)]
                time_window(engines.code2wav, inputs)
                seconds = median(time_window(engines.code2wav, inputs) for _ in range(amounts.rounds))
                facts = {"codes": codes, "solver": f"{solver}-{points}", "turns": turns}
                record.add("first window", 1000 * seconds, "ms", **facts)
                record.add("first window", turns * codes / CODES_PER_S / seconds, "x real time", **facts)


def measure_precision(engines: Engines, record: Recorder) -> None:
    """Coarser numbers in code2wav: their speed, and how far the sound of the same codes and noise moves.

    As served, the DiT computes in float32, and the vocoder's convolutions may use TF32 (torch's default).
    """
    served = engines.load(build_settings(engines.plan, Stage.CODE2WAV))
    coarse = engines.load(build_settings(engines.plan, Stage.CODE2WAV, dtype="bfloat16"))
    codes = _draw(engines.plan.amounts.whole_codes)
    reference = _hear(served, codes)
    # The switch is the process's, and a stage's thread looks at it in each product.
    for name, engine, tf32 in (
        ("float32", served, False),
        ("TF32", served, True),
        ("bfloat16", coarse, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            for blocks, turns in ((1, 1), (2, CROWD)):
                window = WindowSettings(first_codes=BLOCK_CODES * blocks)
                inputs = [build_input(window.first_codes, window, last=False) for _ in range(turns)]
                time_window(engine, inputs)
                seconds = median(time_window(engine, inputs) for _ in range(engines.plan.amounts.rounds))
                facts = {"numbers": name, "blocks": blocks, "turns": turns}
                record.add("first window of blocks", 1000 * seconds, "ms", **facts)
            record.add("SNR against float32", _find_snr(_hear(engine, codes), reference), "dB", numbers=name)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False


def _hear(engine: StageEngine[Code2WavInput, Code2WavOutput], codes: tuple[int, ...]) -> NDArray[np.float64]:
    """The whole sound of these codes, from the same noise each time."""
    inbox: Inbox[Code2WavOutput] = Inbox()
    turn = build_turn(1, tokens=1, codes=1, window=WHOLE)
    engine.open(uuid4().hex, Code2WavInput(codes=codes, last=True, turn=turn), inbox)
    return np.concatenate([output.pcm for _, output in inbox.outputs()]).astype(np.float64)


def _find_snr(wave: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """At most what 16 bits can tell apart."""
    noise = max(float(np.mean((wave - reference) ** 2)), 1 / 12)
    return float(10 * np.log10(np.mean(reference**2) / noise))


def time_window(engine: StageEngine[Code2WavInput, Code2WavOutput], inputs: Sequence[Code2WavInput]) -> float:
    return time_first(engine, inputs, lambda output: output.pcm.size)[0]


def _measure_replies(engines: Engines, record: Recorder) -> None:
    amounts = engines.plan.amounts
    codes = amounts.whole_codes
    for turns in (1, CROWD):
        times = {}
        for name, window in (("whole", WHOLE), ("streamed, 2 blocks", TWO_BLOCKS)):
            inputs = [build_input(codes, window, last=True) for _ in range(turns)]
            time_all(engines.code2wav, inputs)
            times[name] = median(time_all(engines.code2wav, inputs) for _ in range(amounts.rounds))
            speed = turns * codes / CODES_PER_S / times[name]
            record.add(f"reply {name}", speed, "x real time", turns=turns, codes=codes)
        record.add("streamed against whole", times["streamed, 2 blocks"] / times["whole"], "x", turns=turns)


def _measure_growth(engines: Engines, record: Recorder) -> None:
    """A window a time, each when the one before is done."""
    seconds = engines.plan.amounts.steady_s
    step = TWO_BLOCKS.first_codes
    codes = _draw(seconds * CODES_PER_S)
    given = [codes[start : start + step] for start in range(0, len(codes) - step + 1, step)]
    inbox: Inbox[Any] = Inbox()
    session = uuid4().hex
    times = []
    for number, some in enumerate(given):
        started = time.perf_counter()
        if number:
            engines.code2wav.feed(session, Code2WavInput(codes=some, last=False))
        else:
            turn = build_turn(1, tokens=1, codes=1, window=TWO_BLOCKS)
            engines.code2wav.open(session, Code2WavInput(codes=some, last=False, turn=turn), inbox)
        at_s, _ = next(inbox.outputs())
        times.append(at_s - started)
    engines.code2wav.cancel(session)
    few = max(2, len(times) // 6)
    early, late = median(times[1 : 1 + few]), median(times[-few:])
    record.add("late windows against early ones", late / early, "x", seconds=seconds)
    record.add("window of 2 blocks with a past", 1000 * early, "ms", turns=1)


def build_input(codes: int, window: WindowSettings | None, *, last: bool) -> Code2WavInput:
    return Code2WavInput(
        codes=_draw(codes), last=last, turn=build_turn(1, tokens=1, codes=codes, window=window)
    )


def _draw(codes: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, CODES, (codes,)).tolist())
