"""Thinker and talker: how fast many turns decode at once, and what a long prompt does to them.

A rate is a difference of two replies' times, one `timed_tokens` longer than the other, so that prompts and
starting up cancel.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median, quantiles
from typing import Any, Final
from uuid import uuid4

import torch
from tercet_engine.stage import StageEngine, TalkerInput, ThinkerInput, ThinkerOutput
from tercet_wire.names import Stage
from tercet_wire.settings import StageSettings

from bench.architecture import count_values
from bench.engine.engines import Engines, build_settings
from bench.engine.plans import Amounts
from bench.engine.records import Recorder
from bench.engine.turns import Ends, Inbox, build_turn, time_all

RUNNING: Final = 8
DEFAULT_CHUNK: Final = StageSettings.model_fields["chunk_tokens"].default
GAPS: Final = 60
"""Tokens of each running turn, at least, whose distances are looked at."""


def measure_thinker(engines: Engines, record: Recorder) -> None:
    amounts, thinker = engines.plan.amounts, engines.thinker
    _record_work(engines, record, Stage.THINKER)

    def think(turns: int, tokens: int, *, is_spoken: bool) -> float:
        codes = 1 if is_spoken else None
        inputs = [
            ThinkerInput(
                turn=build_turn(amounts.prompt_letters, tokens=tokens, codes=codes, ends=engines.ends)
            )
            for _ in range(turns)
        ]
        return time_all(thinker, inputs)

    think(max(amounts.thinker_turns), amounts.warm_tokens, is_spoken=True)
    for is_spoken in (False, True):
        for turns in amounts.thinker_turns[:: 2 if is_spoken else 1]:
            think(turns, amounts.warm_tokens, is_spoken=is_spoken)
            step_s = step_time(amounts, partial(think, turns, is_spoken=is_spoken), amounts.rounds)
            name = "thinker, states handed on" if is_spoken else "thinker"
            record.add(name, turns / step_s, "tok/s", turns=turns)
            record.add(f"{name}, a step", 1000 * step_s, "ms", turns=turns)


def measure_talker(engines: Engines, record: Recorder) -> None:
    amounts, talker = engines.plan.amounts, engines.talker
    config = engines.checkpoint.config.talker_config
    _record_work(engines, record, Stage.TALKER)

    def talk(turns: int, codes: int) -> float:
        inputs = [
            build_talker_input(
                amounts, codes, width=config.hidden_size, dtype=engines.plan.torch_dtype, ends=engines.ends
            )
            for _ in range(turns)
        ]
        return time_all(talker, inputs)

    talk(max(amounts.talker_turns), amounts.warm_tokens)
    for turns in amounts.talker_turns:
        talk(turns, amounts.warm_tokens)
        step_s = step_time(amounts, partial(talk, turns), amounts.rounds)
        record.add("talker", turns / step_s, "codes/s", turns=turns)
        record.add("talker, a step", 1000 * step_s, "ms", turns=turns)


def _record_work(engines: Engines, record: Recorder, stage: Stage) -> None:
    """What no step can do without: each matrix is read once, and multiplied with each turn's row.

    Its numbers are of 16 bits, in whatever type they are computed with.
    """
    config = engines.checkpoint.config
    decoder = {Stage.THINKER: config.thinker_config.text_config, Stage.TALKER: config.talker_config}[stage]
    values = count_values(config).in_matrices[stage] + decoder.vocab_size * decoder.hidden_size
    record.add(f"{stage}, matrices", 2 * values / 1e9, "GB")
    record.add(f"{stage}, products of a turn", 2 * values / 1e9, "GFLOP")


def build_talker_input(
    amounts: Amounts, codes: int, *, width: int, dtype: torch.dtype, ends: Ends
) -> TalkerInput:
    """A prompt and a whole reply, made up; sampled as the reference does."""
    prompt = amounts.prompt_letters + 20
    return TalkerInput(
        states=torch.randn(prompt + amounts.reply_tokens, width).to(dtype),
        positions=torch.arange(prompt, dtype=torch.int32).expand(3, -1),
        last=True,
        turn=build_turn(1, tokens=amounts.reply_tokens, codes=codes, ends=ends),
    )


def step_time(amounts: Amounts, work: Callable[[int], float], rounds: int) -> float:
    """Median seconds of a step. `work` decodes that many tokens and says how long it took."""
    short, long = amounts.warm_tokens, amounts.warm_tokens + amounts.timed_tokens
    steps = [(work(long) - work(short)) / amounts.timed_tokens for _ in range(rounds)]
    return median(steps)


def measure_prompts(engines: Engines, record: Recorder) -> None:
    """Time to the first token of one turn alone, by the length of its prompt; then of the same once more."""
    amounts = engines.plan.amounts
    for letters in amounts.prompt_lengths:
        turns = [build_turn(letters, tokens=1, ends=engines.ends) for _ in range(amounts.rounds)]
        for name in ("prompt, first token", "known prompt, first token"):
            first_s = median(time_all(engines.thinker, [ThinkerInput(turn=turn)]) for turn in turns)
            record.add(name, 1000 * first_s, "ms", letters=letters)


def measure_long_prompt(engines: Engines, record: Recorder) -> None:
    """How far apart a running turn's tokens are while a long prompt comes in, and without it."""
    for chunk in (DEFAULT_CHUNK, 4 * DEFAULT_CHUNK):
        settings = build_settings(engines.plan, Stage.THINKER, flush_s=0.0, chunk_tokens=chunk)
        thinker = engines.load(settings)
        _watch_gaps(engines, thinker, long_prompts=1)  # warm
        quiet, _ = _watch_gaps(engines, thinker, long_prompts=0)
        gaps, prompt_s = _watch_gaps(engines, thinker, long_prompts=1)
        facts = {"running": RUNNING, "chunk": chunk}
        record.add("gap between tokens, p95", 1000 * _p95(quiet), "ms", prompt="none", **facts)
        record.add("gap between tokens, p95", 1000 * _p95(gaps), "ms", prompt="long", **facts)
        record.add("long prompt, first token", 1000 * prompt_s, "ms", **facts)
        thinker.shutdown()


def _watch_gaps(
    engines: Engines, thinker: StageEngine[ThinkerInput, ThinkerOutput], *, long_prompts: int
) -> tuple[list[float], float]:
    """Seconds between running turns' tokens while a long prompt came, or all; seconds to its first token."""
    amounts = engines.plan.amounts

    def ask(letters: int, tokens: int) -> Inbox[Any]:
        inbox: Inbox[Any] = Inbox()
        turn = build_turn(letters, tokens=tokens, ends=engines.ends)
        thinker.open(uuid4().hex, ThinkerInput(turn=turn), inbox)
        return inbox

    running = [ask(amounts.prompt_letters, 3 * GAPS) for _ in range(RUNNING)]
    firsts = [inbox.outputs() for inbox in running]
    times = [[next(outputs)[0]] for outputs in firsts]
    began = time.perf_counter()
    arrived = began
    for inbox in [ask(amounts.long_prompt_letters, 1) for _ in range(long_prompts)]:
        arrived = max(at_s for at_s, _ in inbox.outputs())
    for outputs, at in zip(firsts, times, strict=True):
        at.extend(at_s for at_s, _ in outputs)
    until = arrived if long_prompts else times[0][-1]
    pairs = [pair for at in times for pair in pairwise(at)]
    return [after - before for before, after in pairs if after > began and before < until], arrived - began


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]
