"""Code2wav against transformers: processor time for the same speech from the same weights, on one thread.

`python -m bench.code2wav [--checkpoint FOLDER] [--rounds N]`. transformers makes all sound at once
(`Qwen2_5OmniToken2WavModel`, SDPA); ours is measured whole and streamed, a code after the other. All take
turns, round after round; the table has medians, and ratios are medians of the rounds' ratios.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import torch
from rich.console import Console
from tercet_engine.checkpoint import Checkpoint, open_checkpoint
from tercet_engine.code2wav.model import SpeechModel, load_model
from tercet_engine.demo import ensure_demo
from tercet_wire.names import CODES_PER_S, SAMPLE_RATE_HZ, Stage
from tercet_wire.settings import StageSettings, WindowSettings
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavModel

from bench.machine import describe_machine
from bench.reports import Claim, Report, print_report, write_report
from bench.windows import CACHE, RESULTS, Spoken, speak

ROUNDS: Final = 5
SPEECH_S: Final = 10
LONG_S: Final = 60
EDGE_S: Final = 5
"""The first and the last seconds of the long speech, which are compared; its very first window apart."""
PEER: Final = "transformers"
WHOLE: Final = "whole"
TWO: Final = "2 blocks"
GROWING: Final = "2 to 8 blocks"
CHEAP: Final = "2 to 8 blocks, midpoint 6"
WINDOWS: Final = {
    WHOLE: WindowSettings(mode="whole"),
    "1 to 4 blocks (default)": WindowSettings(),
    TWO: WindowSettings(blocks=2, max_blocks=2),
    GROWING: WindowSettings(blocks=2, max_blocks=8),
    CHEAP: WindowSettings(blocks=2, max_blocks=8, solver="midpoint", points=6),
    "2 to 8 blocks, euler 6": WindowSettings(blocks=2, max_blocks=8, solver="euler", points=6),
}
LONG: Final = WindowSettings(blocks=2, max_blocks=2, solver="midpoint", points=6)
COLUMNS: Final = ("party", "processor time", "RTF", "against transformers", "against whole")

Times = dict[str, list[float]]
"""Seconds of processor time by party, a figure a round."""


def processor_time(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def draw_codes(seconds: float) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randint(0, 8193, (int(seconds * CODES_PER_S),), generator=generator).tolist())


def measure(model: SpeechModel, reference: Callable[[], object], rounds: int) -> Times:
    codes = draw_codes(SPEECH_S)
    times: Times = {PEER: [], **{name: [] for name in WINDOWS}}
    for window in WINDOWS.values():
        model.dit.prepare(window.solver, window.points)
        speak(model, codes[: 2 * CODES_PER_S], window)  # warm
    for _ in range(rounds):
        times[PEER].append(processor_time(reference))
        for name, window in WINDOWS.items():
            times[name].append(speak(model, codes, window).took_s)
    return times


def measure_ageing(model: SpeechModel, rounds: int) -> list[float]:
    """How much more a second costs at the end of a long speech than at its beginning, a figure a round."""
    model.dit.prepare(LONG.solver, LONG.points)
    codes = draw_codes(LONG_S)
    return [find_ageing(speak(model, codes, LONG)) for _ in range(rounds)]


def find_ageing(spoken: Spoken) -> float:
    """Per sample; the median window of each end, since a single one is at the mercy of the neighbours."""
    sent = [samples for _, samples in spoken.fired]
    costs = [took_s / samples for took_s, samples in zip(spoken.took_by_window_s, sent, strict=True)]
    count = sum(sum(sent[: number + 1]) <= EDGE_S * SAMPLE_RATE_HZ for number in range(len(sent)))
    return median(costs[-count - 1 : -1]) / median(costs[2 : 2 + count])


def ratio(times: Times, name: str, against: str) -> float:
    return median(one / other for one, other in zip(times[name], times[against], strict=True))


def build_report(times: Times, ageing: Sequence[float]) -> Report:
    return Report(
        name="code2wav",
        title=f"Code2wav: {SPEECH_S} s of sound, processor time on one thread",
        columns=COLUMNS,
        rows=[
            [
                name,
                f"{median(taken):.2f} s",
                f"{median(taken) / SPEECH_S:.2f}",
                f"{ratio(times, name, PEER):.3f}",
                f"{ratio(times, name, WHOLE):.2f}",
            ]
            for name, taken in times.items()
        ],
        claims=[
            _at_most(f"streamed in windows of {TWO}, against whole", ratio(times, TWO, WHOLE), 1.2),
            _at_most("a second at the end of a minute, against its beginning", median(ageing), 1.05),
            _at_most(f"streamed, rk4, {GROWING}, against {PEER}", ratio(times, GROWING, PEER), 1 / 4),
            _at_most(f"streamed, {CHEAP}, against {PEER}", ratio(times, CHEAP, PEER), 1 / 8),
        ],
        raw={"times_s": times, "ageing": list(ageing)},
    )


def _at_most(text: str, measured: float, target: float) -> Claim:
    return Claim(text=text, measured=measured, target=target, at_least=False)


def _load_reference(checkpoint: Checkpoint) -> Callable[[], object]:
    net = Qwen2_5OmniToken2WavModel._from_config(
        checkpoint.config.token2wav_config, attn_implementation="sdpa"
    ).eval()
    net.load_state_dict(checkpoint.load("token2wav."), strict=False)
    speaker = next(iter(checkpoint.speakers.values()))
    codes = torch.tensor([draw_codes(SPEECH_S)])
    return lambda: net(codes, speaker.cond, speaker.ref_mel)


@torch.inference_mode()
def run(folder: Path, rounds: int = ROUNDS) -> Report:
    torch.set_num_threads(1)
    checkpoint = open_checkpoint(folder)
    settings = StageSettings(stage=Stage.CODE2WAV, checkpoint=str(folder))
    model = load_model(checkpoint, settings, torch.device("cpu"))
    times = measure(model, _load_reference(checkpoint), rounds)
    return build_report(times, measure_ageing(model, rounds))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.code2wav", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a Qwen2.5-Omni folder; else the bench demo")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements that medians are taken of")
    options = parser.parse_args()
    console = Console(width=140)
    setup = describe_machine()
    console.print(setup, highlight=False)
    report = run(options.checkpoint or ensure_demo("bench", CACHE), options.rounds)
    print_report(report, console)
    console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
