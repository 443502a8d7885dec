"""Code2wav against transformers: processor time for the same speech from the same weights, on one thread.

`python -m bench.code2wav [--checkpoint FOLDER]`. transformers makes all sound at once
(`Qwen2_5OmniToken2WavModel`); ours is measured whole and streamed, a code after the other.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.code2wav.dit import Segment
from tercet_engine.code2wav.model import SpeechModel, load_model
from tercet_engine.code2wav.noise import NoiseSource
from tercet_engine.code2wav.vocoder import Stretch
from tercet_engine.code2wav.windows import FRAMES_PER_CODE
from tercet_engine.demo import ensure_demo
from tercet_wire.names import CODES_PER_S, Stage
from tercet_wire.settings import StageSettings, WindowSettings
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniToken2WavModel

from bench.machine import describe_machine
from bench.reports import Report, print_report, write_report
from bench.windows import CACHE, RESULTS, speak

LENGTHS_S: Final = (2, 10)
WHOLE: Final = WindowSettings(mode="whole")
CHEAP: Final = WindowSettings(solver="midpoint", points=6)
COLUMNS: Final = (
    "sound",
    "transformers",
    "whole",
    "streamed",
    "streamed, midpoint 6",
    "whole is faster by",
    "of whole, the DiT",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Seconds of processor time."""

    sound_s: float
    transformers_s: float
    whole_s: float
    streamed_s: float
    cheap_s: float
    dit_s: float
    vocoder_s: float

    def cells(self) -> list[str]:
        times = (self.transformers_s, self.whole_s, self.streamed_s, self.cheap_s)
        return [
            f"{self.sound_s:g} s",
            *(f"{seconds:.2f} s" for seconds in times),
            f"{self.transformers_s / self.whole_s:.1f} x",
            f"{100 * self.dit_s / (self.dit_s + self.vocoder_s):.0f} %",
        ]


def processor_time(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(model: SpeechModel, reference: Callable[[torch.Tensor], object], codes: Sequence[int]) -> Row:
    ids = tuple(codes)
    noise = NoiseSource(0, model.dit.mel_dim).frames(0, len(ids) * FRAMES_PER_CODE)
    voice = next(iter(model.voices.values()))
    segment = Segment(codes=ids, noise=noise, voice=voice, past=None, final_blocks=0)
    mel = model.dit.decode([segment], "rk4", 10)[0].mel
    return Row(
        sound_s=len(ids) / CODES_PER_S,
        transformers_s=processor_time(lambda: reference(torch.tensor([ids]))),
        whole_s=speak(model, ids, WHOLE).took_s,
        streamed_s=speak(model, ids, WindowSettings()).took_s,
        cheap_s=speak(model, ids, CHEAP).took_s,
        dit_s=processor_time(lambda: model.dit.decode([segment], "rk4", 10)),
        vocoder_s=processor_time(lambda: model.vocoder.render([Stretch(mel=mel, left=0, right=0)])),
    )


@torch.inference_mode()
def run(folder: Path) -> Report:
    torch.set_num_threads(1)
    checkpoint = open_checkpoint(folder)
    settings = StageSettings(stage=Stage.CODE2WAV, checkpoint=str(folder))
    model = load_model(checkpoint, settings, torch.device("cpu"))
    model.dit.prepare(CHEAP.solver, CHEAP.points)
    net = Qwen2_5OmniToken2WavModel._from_config(
        checkpoint.config.token2wav_config, attn_implementation="sdpa"
    ).eval()
    net.load_state_dict(checkpoint.load("token2wav."), strict=False)
    speaker = next(iter(checkpoint.speakers.values()))
    generator = torch.Generator().manual_seed(1)
    rows = []
    for seconds in LENGTHS_S:
        codes = torch.randint(0, 8193, (seconds * CODES_PER_S,), generator=generator).tolist()
        rows.append(measure(model, lambda ids: net(ids, speaker.cond, speaker.ref_mel), codes))
    return Report(
        name="code2wav",
        title="Code2wav: processor time on one thread",
        columns=COLUMNS,
        rows=[row.cells() for row in rows],
        raw={"checkpoint": folder.name, "rows": [asdict(row) for row in rows]},
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.code2wav", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a Qwen2.5-Omni folder; else the bench demo")
    options = parser.parse_args()
    console = Console(width=140)
    setup = describe_machine()
    console.print(setup, highlight=False)
    report = run(options.checkpoint or ensure_demo("bench", CACHE))
    print_report(report, console)
    console.print(f"written to {write_report(report, setup, RESULTS)}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
