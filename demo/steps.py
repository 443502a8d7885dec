"""The steps that lead from nothing to the demo's checkpoint, and how long each training takes on which
device.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tercet_engine.checkpoint import open_checkpoint
from tercet_engine.demo.build import ensure_demo, find_trained

from demo.assembling import assemble, take_part
from demo.conversations.conversing import draw_talks
from demo.conversations.scenes import Conversation
from demo.conversations.shown import list_spoken_texts
from demo.media.sounds import make_spoken_pool
from demo.saving import save_whole
from demo.size import build_demo_config
from demo.thinker.model import draw_embeddings
from demo.thinker.naming import ENCODERS, train_encoders
from demo.thinker.training import train_thinker
from demo.voice.codec import SERVED_CENTROIDS, learn_codec
from demo.voice.corpus import make_speech, read_speech
from demo.voice.dictation import read_dictation, write_dictation
from demo.voice.dit import train_dit
from demo.voice.prompts import write_prompts
from demo.voice.speakers import build_speakers
from demo.voice.talker import train_talker
from demo.voice.vocoder import train_vocoder

_HOURS_ON_CPU: Final = {"encoders": 0.5, "thinker": 4.0, "talker": 4.0, "dit": 3.0, "vocoder": 5.0}
_SECONDS_ON_GPU: Final = {"encoders": 60.0, "thinker": 330.0, "talker": 400.0, "dit": 360.0, "vocoder": 360.0}
_BATCHES: Final = {
    "encoders": (2_560, 20_480),
    "thinker": (2_560, 20_480),
    "talker": (16, 128),
    "dit": (12, 96),
    "vocoder": (8, 64),
}
"""On a CPU, on a GPU; the thinker's and its encoders' are rows, as conversations differ much in length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    folder: Path
    device: str
    talks: int
    """Conversations that the voice learns to sound from, and as many sentences to repeat."""
    dictated: int
    """Sentences to repeat that the talker learns from, beside those conversations."""
    seed: int = 1
    """Of the conversations and sentences that are drawn."""
    seconds: float | None = None
    """Of each training, in place of the recipe's."""
    further: tuple[str, ...] = ()
    """Networks that are trained on from how they are served."""

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    def duration(self, part: str) -> float:
        if self.seconds is not None:
            return self.seconds
        return _HOURS_ON_CPU[part] * 3600 if self.device == "cpu" else _SECONDS_ON_GPU[part]

    def begin(self, part: str) -> dict[str, torch.Tensor] | None:
        return take_part(part, find_trained()) if part in self.further else None

    def batch(self, part: str) -> int:
        return _BATCHES[part][self.device != "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    run: Callable[[Setting], None]
    makes: str
    """The file or folder that is there once the step is done."""


def is_done(name: str, setting: Setting) -> bool:
    return (setting.folder / STEPS[name].makes).exists()


def keep_served(part: str, folder: Path) -> None:
    """Take a network from the package's checkpoint."""
    weights = take_part(part, find_trained())
    save_whole(weights, folder / f"{part}.pt")


def keep_codec(folder: Path) -> None:
    """Take the codec that the package's checkpoint was trained with."""
    shutil.copy(SERVED_CENTROIDS, folder)


def _speak(setting: Setting) -> None:
    texts = _list_texts(draw_talks(setting.seed, setting.talks, setting.talks))
    make_speech(texts, setting.folder, os.cpu_count() or 1, setting.torch_device)


def _record(setting: Setting) -> None:
    make_spoken_pool(list_spoken_texts(), setting.folder, os.cpu_count() or 1)


def _code(setting: Setting) -> None:
    learn_codec(read_speech(setting.folder).to(setting.torch_device), setting.folder)


def _dictate(setting: Setting) -> None:
    write_dictation(_list_texts(_draw_dictated(setting)), setting.folder, os.cpu_count() or 1)


def _draw_dictated(setting: Setting) -> list[Conversation]:
    return draw_talks(setting.seed, setting.talks, setting.dictated)


def _list_texts(talks: Iterable[Conversation]) -> list[str]:
    return list(dict.fromkeys(talk.reply for talk in talks))


def _train_dit(setting: Setting) -> None:
    config = build_demo_config().token2wav_config.dit_config
    speech = read_speech(setting.folder).to(setting.torch_device)
    weights = train_dit(
        config,
        speech,
        setting.folder,
        seconds=setting.duration("dit"),
        batch=setting.batch("dit"),
        begin=setting.begin("dit"),
    )
    _keep(weights, setting, "dit")


def _train_vocoder(setting: Setting) -> None:
    config = build_demo_config().token2wav_config.bigvgan_config
    speech = read_speech(setting.folder).to(setting.torch_device)
    weights = train_vocoder(
        config,
        speech,
        setting.folder,
        seconds=setting.duration("vocoder"),
        batch=setting.batch("vocoder"),
        begin=setting.begin("vocoder"),
    )
    _keep(weights, setting, "vocoder")


def _train_encoders(setting: Setting) -> None:
    """Those that are served are kept, if the thinker is trained on from there."""
    served = setting.begin("thinker")
    weights = served if served is not None else _teach_to_name(setting)
    _keep({name: value for name, value in weights.items() if name.startswith(ENCODERS)}, setting, "encoders")


def _teach_to_name(setting: Setting) -> dict[str, torch.Tensor]:
    return train_encoders(
        build_demo_config().thinker_config,
        open_checkpoint(_find_processor(setting)),
        setting.folder,
        device=setting.torch_device,
        seconds=setting.duration("encoders"),
        rows=setting.batch("encoders"),
    )


def _train_thinker(setting: Setting) -> None:
    weights = train_thinker(
        build_demo_config().thinker_config,
        open_checkpoint(_find_processor(setting)),
        setting.folder,
        device=setting.torch_device,
        seconds=setting.duration("thinker"),
        rows=setting.batch("thinker"),
        encoders=_kept(setting, "encoders"),
        begin=setting.begin("thinker"),
    )
    _keep(weights, setting, "thinker")


def _write_prompts(setting: Setting) -> None:
    texts = read_dictation(setting.folder).texts
    talks, checkpoint = _draw_dictated(setting), _find_processor(setting)
    write_prompts(talks, texts, checkpoint, setting.folder, os.cpu_count() or 1)


def _find_processor(setting: Setting) -> Path:
    """A checkpoint that has the demo's tokenizer and media processors; its weights are not looked at."""
    return ensure_demo("tiny", setting.folder)


def _train_talker(setting: Setting) -> None:
    config = build_demo_config()
    weights = train_talker(
        config.talker_config,
        _draw_text_embeddings(config.thinker_config),
        setting.folder,
        device=setting.torch_device,
        seconds=setting.duration("talker"),
        batch=setting.batch("talker"),
        begin=setting.begin("talker"),
    )
    _keep(weights, setting, "talker")


def _draw_text_embeddings(config: Any) -> torch.Tensor:
    """The thinker's, but none for what is seen and heard."""
    embeddings = draw_embeddings(config.text_config.vocab_size, config.text_config.hidden_size)
    embeddings[[config.audio_token_id, config.image_token_id, config.video_token_id]] = 0
    return embeddings


def _assemble(setting: Setting) -> None:
    config = build_demo_config()
    speakers = build_speakers(read_speech(setting.folder), config.token2wav_config.dit_config.enc_emb_dim)
    parts = {part: _kept(setting, part) for part in ("thinker", "talker", "dit", "vocoder")}
    assemble(config, parts, speakers, setting.folder / "checkpoint")


def _keep(weights: Mapping[str, torch.Tensor], setting: Setting, part: str) -> None:
    held = {name: value.detach().cpu().clone() for name, value in weights.items()}
    save_whole(held, setting.folder / f"{part}.pt")


def _kept(setting: Setting, part: str) -> dict[str, torch.Tensor]:
    held: dict[str, torch.Tensor] = torch.load(setting.folder / f"{part}.pt", weights_only=True)
    return held


STEPS: Final = {
    "speech": Step(run=_speak, makes="speech.pt"),
    "codec": Step(run=_code, makes="codec.pt"),
    "record": Step(run=_record, makes="spoken.npz"),
    "dictation": Step(run=_dictate, makes="dictation.pt"),
    "prompts": Step(run=_write_prompts, makes="prompts.pt"),
    "encoders": Step(run=_train_encoders, makes="encoders.pt"),
    "thinker": Step(run=_train_thinker, makes="thinker.pt"),
    "dit": Step(run=_train_dit, makes="dit.pt"),
    "vocoder": Step(run=_train_vocoder, makes="vocoder.pt"),
    "talker": Step(run=_train_talker, makes="talker.pt"),
    "assemble": Step(run=_assemble, makes="checkpoint"),
}
FURTHER: Final = ("thinker", "talker", "dit", "vocoder")
LANES: Final = (("encoders", "thinker", "dit"), ("talker", "vocoder"))
"""What is trained side by side; within a lane one after the other, for the cores."""
