"""Windows: what each window setting of code2wav costs in quality, delay and computing, against `whole`.

`python -m bench.windows [--checkpoint FOLDER] [--seconds N]`. Drives the stage's own turns and steps without
its thread: a code after the other, a listener whose buffer is always empty. The same codes, voice and noise
throughout, so that every difference is the window's; the last row shows how much another noise draw differs.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.code2wav.model import SpeechModel, load_model
from tercet_engine.code2wav.noise import NoiseSource
from tercet_engine.code2wav.schedule import build_schedule
from tercet_engine.code2wav.steps import Job, run_step
from tercet_engine.code2wav.turn import SpeechTurn
from tercet_engine.code2wav.windows import BLOCK_FRAMES, FRAMES_PER_CODE
from tercet_engine.demo import ensure_demo
from tercet_engine.stage import Code2WavOutput
from tercet_wire.messages import StageFailure
from tercet_wire.names import CODES_PER_S, SAMPLE_RATE_HZ, Stage
from tercet_wire.settings import Solver, StageSettings, WindowSettings
from transformers.audio_utils import mel_filter_bank

from bench.machine import describe_machine
from bench.reports import Report, print_report, write_report

RESULTS: Final = Path(__file__).parent / "results"
CACHE: Final = Path.home() / ".cache" / "tercet"
FFT: Final = 1024
HOP: Final = 240
MELS: Final = 80
FLOOR: Final = 1e-5
"""-50 dB of full scale: what is softer does not count as a difference."""
COLUMNS: Final = (
    "window",
    "first sound after",
    "it lasts",
    "talker must run at",
    "log-mel distance",
    "SNR",
    "DiT work",
    "time",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A turn's sound; `fired`: codes that were there, and samples sent, at each window with sound.

    `took_s`: processor time; `took_by_window_s`: by window with sound.
    """

    wave: NDArray[np.float64]
    fired: tuple[tuple[int, int], ...]
    took_by_window_s: tuple[float, ...]
    blocks: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `whole` with rk4 and 10 points has a work and a (processor) time of 1."""

    window: str
    first_codes: int
    first_sound_s: float
    talker_speed: float
    log_mel_db: float
    snr_db: float
    work: float
    time: float

    def cells(self) -> list[str]:
        return [
            self.window,
            f"{self.first_codes} codes",
            f"{1000 * self.first_sound_s:.0f} ms",
            f"{self.talker_speed:.1f} x" if self.talker_speed else "-",
            f"{self.log_mel_db:.2f} dB",
            f"{self.snr_db:.0f} dB",
            f"{self.work:.2f}",
            f"{self.time:.2f}",
        ]


class Silent:
    """A sink for turns that are driven by hand."""

    def send(self, output: Code2WavOutput) -> None: ...

    def close(self, failure: StageFailure | None = None) -> None: ...

    def is_cancelled(self) -> bool:
        return False


def iter_settings() -> Iterator[tuple[str, WindowSettings]]:
    yield "whole", WindowSettings(mode="whole")
    for codes in (6, 8, 12):
        yield f"stream, first {codes}", stream(first_codes=codes)
    for blocks in (2, 4):
        yield f"stream, {blocks} blocks", stream(blocks=blocks)
    for ahead in (1, 2):
        yield f"stream, look-ahead {ahead}", stream(first_codes=12, look_ahead_blocks=ahead)
    yield "stream, first 36, 2 blocks, look-ahead 1", stream(first_codes=36, blocks=2, look_ahead_blocks=1)
    for frames in (0, 4, 8, 16):
        yield f"stream, overlap {frames}", stream(overlap_frames=frames, first_overlap_frames=min(frames, 8))
    solvers: tuple[tuple[Solver, int], ...] = (
        ("rk4", 6),
        ("rk4", 4),
        ("midpoint", 10),
        ("midpoint", 6),
        ("midpoint", 4),
        ("euler", 10),
        ("euler", 6),
    )
    for solver, points in solvers:
        yield f"whole, {solver} {points}", WindowSettings(mode="whole", solver=solver, points=points)


def stream(**changes: int) -> WindowSettings:
    """Windows that do not grow, so that the row is about the size it names."""
    return WindowSettings(**{"max_blocks": changes.get("blocks", 1), **changes})  # type: ignore[arg-type]


def speak(model: SpeechModel, codes: tuple[int, ...], window: WindowSettings, seed: int = 0) -> Spoken:
    """A whole turn, a code after the other."""
    turn = SpeechTurn(
        session="bench",
        sink=Silent(),
        voice=next(iter(model.voices.values())),
        window=window,
        noise=NoiseSource(seed, model.dit.mel_dim),
        arrived_at=0.0,
        due_s=0.0,
    )
    pieces: list[NDArray[np.int16]] = []
    fired: list[tuple[int, int]] = []
    ended = [time.process_time()]
    blocks = 0
    began = time.process_time()
    for number in range(len(codes) + 1):
        turn.receive(codes[number : number + 1], number == len(codes), 0.0)
        while job := turn.next_window():
            (made,) = run_step(model, [Job(turn=turn, window=job)])
            pieces.append(turn.commit(job, made.decoded, made.rendered))
            turn.note_sent(len(pieces[-1]), 0.0)
            if len(pieces[-1]):
                fired.append((min(number + 1, len(codes)), len(pieces[-1])))
                ended.append(time.process_time())
            blocks += job.blocks
            if job.last:
                break
    took_s = time.process_time() - began
    wave = np.concatenate(pieces) / 32_767
    by_window_s = tuple(end - begin for begin, end in pairwise(ended))
    return Spoken(wave=wave, fired=tuple(fired), took_by_window_s=by_window_s, blocks=blocks, took_s=took_s)


def talker_speed(fired: tuple[tuple[int, int], ...]) -> float:
    """How many times faster than speech the codes must come, so that a player never waits."""
    first, sent = fired[0]
    needed = 0.0
    for codes, samples in fired[1:]:
        needed = max(needed, (codes - first) / CODES_PER_S / (sent / SAMPLE_RATE_HZ))
        sent += samples
    return needed


def log_mel(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frames, mel bins) in dB of full scale."""
    spectrum = torch.stft(
        torch.from_numpy(wave), FFT, HOP, window=torch.hann_window(FFT).double(), return_complex=True
    )
    filters = mel_filter_bank(1 + FFT // 2, MELS, 0, SAMPLE_RATE_HZ / 2, SAMPLE_RATE_HZ)
    power: NDArray[np.float64] = spectrum.abs().numpy().T ** 2 / (FFT / 2) ** 2 @ filters
    decibels: NDArray[np.float64] = 10 * np.log10(power + FLOOR**2)
    return decibels


def log_mel_distance(wave: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((log_mel(wave) - log_mel(reference)) ** 2)))


def snr(wave: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    noise = np.mean((wave - reference) ** 2)
    return float(10 * np.log10(np.mean(reference**2) / noise)) if noise else float("inf")


def measure(model: SpeechModel, codes: tuple[int, ...]) -> list[Row]:
    settings = dict(iter_settings())
    speak(model, codes[:24], settings["whole"])  # warm
    reference = speak(model, codes, settings["whole"])
    base = count_frames(reference, settings["whole"])
    rows = []
    for name, window in settings.items():
        model.dit.prepare(window.solver, window.points)
        spoken = speak(model, codes, window)
        rows.append(
            Row(
                window=name,
                first_codes=spoken.fired[0][0],
                first_sound_s=spoken.fired[0][1] / SAMPLE_RATE_HZ,
                talker_speed=talker_speed(spoken.fired),
                log_mel_db=log_mel_distance(spoken.wave, reference.wave),
                snr_db=snr(spoken.wave, reference.wave),
                work=count_frames(spoken, window) / base,
                time=spoken.took_s / reference.took_s,
            )
        )
    other = speak(model, codes, settings["whole"], seed=1)
    rows.append(
        Row(
            window="whole, another noise draw",
            first_codes=len(codes),
            first_sound_s=len(other.wave) / SAMPLE_RATE_HZ,
            talker_speed=0.0,
            log_mel_db=log_mel_distance(other.wave, reference.wave),
            snr_db=snr(other.wave, reference.wave),
            work=1.0,
            time=other.took_s / reference.took_s,
        )
    )
    return rows


def count_frames(spoken: Spoken, window: WindowSettings) -> int:
    """Frames through the DiT, once for each evaluation."""
    return spoken.blocks * BLOCK_FRAMES * build_schedule(window.solver, window.points).evaluations


def run(checkpoint: Path, seconds: float) -> Report:
    settings = StageSettings(stage=Stage.CODE2WAV, checkpoint=str(checkpoint))
    torch.set_num_threads(settings.threads)
    model = load_model(open_checkpoint(checkpoint), settings, torch.device("cpu"))
    count = int(seconds * CODES_PER_S)
    codes = torch.randint(0, 8193, (count,), generator=torch.Generator().manual_seed(1))
    rows = measure(model, tuple(codes.tolist()))
    frames = count * FRAMES_PER_CODE
    return Report(
        name="windows",
        title=f"Windows: {seconds:g} s of sound ({count} codes, {frames} frames) against `whole`",
        columns=COLUMNS,
        rows=[row.cells() for row in rows],
        raw={"checkpoint": checkpoint.name, "seconds": seconds, "rows": [asdict(row) for row in rows]},
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.windows", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a Qwen2.5-Omni folder; else the bench demo")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the speech")
    options = parser.parse_args()
    console = Console(width=140)
    setup = describe_machine()
    console.print(setup, highlight=False)
    report = run(options.checkpoint or ensure_demo("bench", CACHE), options.seconds)
    print_report(report, console)
    console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
