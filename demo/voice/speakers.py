"""What `spk_dict.pt` holds of the demo's voices: their token, their vector and a second of reference mel."""

from typing import Final

import torch
from tercet_engine.demo.vocabulary import SPEAKERS

from demo.voice.corpus import Speech, cut_mels
from demo.voice.synthesis import VOICES

REFERENCE_FRAMES: Final = 96


def build_speaker_vectors(width: int) -> torch.Tensor:
    """(voices, width): two voices need no more than to be apart."""
    return torch.eye(len(VOICES), width)


def build_speakers(speech: Speech, width: int) -> dict[str, dict[str, object]]:
    vectors = build_speaker_vectors(width)
    speakers: dict[str, dict[str, object]] = {}
    for number, voice in enumerate(VOICES):
        utterance = (speech.voices.cpu() == number).nonzero()[0]
        start = speech.starts.cpu()[utterance]
        mel = cut_mels(speech, start.to(speech.mel.device), REFERENCE_FRAMES)
        speakers[voice.name] = {
            "bos_token": SPEAKERS[voice.name],
            "cond": vectors[number][None].clone(),
            "ref_mel": mel.cpu().clone(),
        }
    return speakers
