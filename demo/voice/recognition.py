"""What a listener understands: pocketsphinx with a trigram model of the demo's own sentences.

The grammar is flattering and the same for every sound that is compared, so the figures are good for comparing
only.
"""

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder, get_model_path
from pocketsphinx.lm import ArpaBoLM
from scipy.signal import resample_poly

_LOUDNESS: Final = 0.6
_DITHER: Final = 3e-4
_SILENCE: Final = 1600
"""Samples at 16 kHz put before and after: the recogniser wants some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Word errors (exchanged, missing, added) out of the words that were to be heard."""

    wrong: int = 0
    words: int = 0

    @property
    def rate(self) -> float:
        return self.wrong / max(1, self.words)

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(wrong=self.wrong + other.wrong, words=self.words + other.words)


class Recogniser:
    def __init__(self, sentences: Iterable[str]) -> None:
        model = get_model_path("en-us")
        with tempfile.TemporaryDirectory() as folder:
            grammar = Path(folder) / "sentences.arpa"
            _write_grammar(sentences, Path(folder) / "sentences.txt", grammar)
            self._decoder = Decoder(
                lm=str(grammar), hmm=f"{model}/en-us", dict=f"{model}/cmudict-en-us.dict", loglevel="FATAL"
            )

    def hear(self, wave: NDArray[np.float32]) -> list[str]:
        """24 kHz mono in [-1, 1] -> words."""
        silence = np.zeros(_SILENCE)
        sound = np.concatenate([silence, resample_poly(wave, 2, 3) * _LOUDNESS, silence])
        sound += np.random.default_rng(0).normal(0, _DITHER, len(sound))
        pcm = (sound.clip(-1, 1) * 32_767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr.split() if found else []


def split_words(text: str) -> list[str]:
    """As the recogniser spells them: small letters, no marks but the apostrophe."""
    return re.findall(r"[a-z']+", text.lower())


def count_errors(wanted: Sequence[str], heard: Sequence[str]) -> Errors:
    """The smallest number of changes from one to the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return Errors(wrong=row[-1], words=len(wanted))


def _write_grammar(sentences: Iterable[str], text: Path, grammar: Path) -> None:
    lines = (f"<s> {' '.join(split_words(sentence))} </s>\n" for sentence in sentences)
    text.write_text("".join(lines))
    with text.open() as source:
        model = ArpaBoLM(sentfile=source, add_start=False)
    model.compute()
    model.write_file(str(grammar))
