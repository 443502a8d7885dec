"""The thinker's decode rate against transformers and vLLM, and what a step costs beside its kernels.

Same weights, greedy, one type of numbers for all, prompts of 112 tokens. Where the processor multiplies in 8
bits, Tercet's rate with that stands beside, whose ratio to vLLM is not one of equals. A rate is a difference:
tokens between a short and a long reply by the time between them, so that prompts do not count. vLLM runs in
the environment whose Python `TERCET_BENCH_VLLM` names (`docs/performance.md` says how it is made); without it
that peer is left out.
"""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from safetensors.torch import save_file
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.decoder.product import can_multiply_int8
from tercet_engine.stage import StageEngine, ThinkerInput, ThinkerOutput
from tercet_engine.thinker import load_thinker
from tercet_wire.messages import ChatMessage, Sampling, StageFailure, TextPart, Turn
from tercet_wire.names import Stage
from tercet_wire.settings import Dtype, Quantization, StageSettings
from transformers import Qwen2Config, Qwen2ForCausalLM

from bench.apart import run_apart
from bench.line_plot import Line, Plot
from bench.progress import say
from bench.reports import Claim, Report

TURNS: Final = (1, 8, 32)
SHORT: Final = 16
LONG: Final = 144
NEVER: Final = -100.0
PROMPT: Final = "abcdefgh " * 6
VLLM: Final = "TERCET_BENCH_VLLM"
OVER_VLLM: Final = 1.5

Rates = Mapping[int, float]
"""Tokens a second by turns at once."""
Take = Callable[[int, int], float]
"""(turns, tokens) -> seconds."""


class Waiter:
    """A sink that only tells of the end."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._failure: StageFailure | None = None

    def send(self, output: ThinkerOutput) -> None: ...

    def close(self, failure: StageFailure | None = None) -> None:
        self._failure = failure
        self._ended.set()

    def is_cancelled(self) -> bool:
        return False

    def wait(self) -> None:
        self._ended.wait()
        if self._failure is not None:
            raise RuntimeError(self._failure.message)


def run(folder: Path, *, rounds: int, dtype: Dtype = "float32") -> Report:
    """Each party has the machine to itself, in a process of its own.

    OpenMP teams that outnumber the cores let go of them between two products, whoever's they are.
    """
    variants: tuple[Quantization, ...] = ("none", "int8") if can_multiply_int8() else ("none",)
    ours: dict[Quantization, list[Rates]] = {variant: [] for variant in variants}
    theirs: list[Rates] = []
    vllm: list[Rates] = []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        export(open_checkpoint(folder), copy)
        for number in range(rounds):  # in turns, so that a machine that gets slower does so for all
            say(f"round {number + 1} of {rounds}")
            for variant, rates in ours.items():
                rates.append(run_apart(_measure_ours, folder, dtype, variant))
            theirs.append(run_apart(_measure_transformers, copy, dtype))
            vllm += _vllm(copy, dtype)
    return judge(ours["none"], theirs, vllm, dtype, in_8_bits=ours.get("int8", ()))


def _measure_ours(folder: Path, dtype: Dtype, quantization: Quantization) -> Rates:
    engine = load_thinker(
        StageSettings(
            stage=Stage.THINKER,
            checkpoint=str(folder),
            dtype=dtype,
            quantization=quantization,
            threads=os.cpu_count() or 1,
            max_turns=max(TURNS),
        )
    )
    try:
        return _rates(partial(_take, engine, open_checkpoint(folder)))
    finally:
        engine.shutdown()


def _measure_transformers(folder: Path, dtype: Dtype) -> Rates:
    return _rates(_transformers(folder, os.cpu_count() or 1, dtype))


def judge(
    ours: Sequence[Rates],
    theirs: Sequence[Rates],
    vllm: Sequence[Rates],
    dtype: Dtype = "float32",
    in_8_bits: Sequence[Rates] = (),
) -> Report:
    """Medians over the rounds, and each peer's ratio to them."""
    name = "decoder" if dtype == "float32" else f"decoder_{dtype}"
    title = f"Thinker: tokens a second while decoding, {dtype}"
    rows, claims = [], []
    for turns in TURNS:
        mine, other = _middle(ours, turns), _middle(theirs, turns)
        cells = [f"{turns}", f"{mine:.0f}", f"{other:.0f}", f"{mine / other:.2f}", "", "", "", ""]
        if vllm:
            third = _middle(vllm, turns)
            cells[4:6] = [f"{third:.0f}", f"{mine / third:.2f}"]
            text = f"decode rate at {turns} turns, {dtype}, times vLLM's"
            claims.append(Claim(text=text, measured=mine / third, target=OVER_VLLM, at_least=True))
        if in_8_bits:
            eighth = _middle(in_8_bits, turns)
            cells[6:] = [f"{eighth:.0f}", f"{eighth / _middle(vllm, turns):.2f}" if vllm else ""]
        rows.append(cells)
    return Report(
        name=name,
        title=f"{title} (medians of {len(ours)} rounds)",
        columns=("turns", "Tercet", "transformers", "times", "vLLM", "times", "Tercet, int8", "times vLLM"),
        rows=rows,
        claims=claims,
        raw={"ours": ours, "int8": in_8_bits, "transformers": theirs, "vllm": vllm},
        plots={
            name: _build_plot(
                title, {"transformers": theirs, "vLLM": vllm, "Tercet": ours, "Tercet, int8": in_8_bits}
            )
        },
    )


def _build_plot(title: str, parties: Mapping[str, Sequence[Rates]]) -> Plot:
    return Plot(
        title=title,
        across="turns at once",
        up="tok/s",
        lines=[
            Line(name=name, points=[(turns, _middle(rates, turns)) for turns in TURNS])
            for name, rates in parties.items()
            if rates
        ],
    )


def _middle(rounds: Sequence[Rates], turns: int) -> float:
    return median(each[turns] for each in rounds)


def _rates(take: Take) -> Rates:
    rates = {}
    for turns in TURNS:
        take(turns, SHORT)  # warm-up
        short_s = take(turns, SHORT)
        rates[turns] = turns * (LONG - SHORT) / (take(turns, LONG) - short_s)
    return rates


def _take(
    engine: StageEngine[ThinkerInput, ThinkerOutput], checkpoint: Checkpoint, turns: int, tokens: int
) -> float:
    bias = dict.fromkeys(checkpoint.end_tokens, NEVER)
    sampling = Sampling(temperature=0.0, max_tokens=tokens, repetition_penalty=1.0, logit_bias=bias)
    waiters = [Waiter() for _ in range(turns)]
    began = time.perf_counter()
    for number, waiter in enumerate(waiters):
        message = ChatMessage(role="user", content=(TextPart(text=f"{PROMPT}{number}"),))
        engine.open(f"{number}", ThinkerInput(turn=Turn(messages=(message,), sampling=sampling)), waiter)
    for waiter in waiters:
        waiter.wait()
    return time.perf_counter() - began


# --- the peers -----------------------------------------------------------------------------------


def export(checkpoint: Checkpoint, folder: Path) -> None:
    """The thinker's text model as a Qwen2 model: for text, its positions are the ordinary ones."""
    text = checkpoint.config.thinker_config.text_config
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    config = Qwen2Config(
        **{name: getattr(text, name) for name in names},
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": text.rope_parameters["rope_theta"]},
        architectures=["Qwen2ForCausalLM"],
        dtype="float32",
    )
    config.save_pretrained(folder)
    weights = {f"model.{name}": tensor for name, tensor in checkpoint.load("thinker.model.").items()}
    weights["lm_head.weight"] = checkpoint.load("thinker.lm_head.")["weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _transformers(folder: Path, threads: int, dtype: Dtype) -> Take:
    # Any: transformers ships no types.
    model: Any = Qwen2ForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    ).eval()

    def take(turns: int, tokens: int) -> float:
        torch.set_num_threads(threads)
        ids = torch.arange(112).repeat(turns, 1) + 100
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                ids,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        return time.perf_counter() - began

    return take


def _vllm(folder: Path, dtype: Dtype) -> list[Rates]:
    python = os.environ.get(VLLM)
    if python is None:
        return []
    script = Path(__file__).with_name("vllm_decode.py")
    words = [python, str(script), str(folder), dtype, "1", str(SHORT), str(LONG), *map(str, TURNS)]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    return [{int(turns): rate for turns, rate in each.items()} for each in json.loads(answer)]
