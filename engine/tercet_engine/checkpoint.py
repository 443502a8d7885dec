"""A Qwen2.5-Omni checkpoint folder: checked when opened, its tensors read only when asked for.

Every stage opens the same folder and loads what it needs by the names the published files use. Opening reads
configs and safetensors headers, so a damaged download is reported whole, file by file, before any weight is
read. Knows nothing of devices, stages or prompts.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import Qwen2_5OmniConfig
from transformers.utils import logging as hf_logging

from tercet_engine.tensor_files import TensorFileError, read_tensor_names

_INDEX: Final = "model.safetensors.index.json"
_WHOLE: Final = "model.safetensors"
_SPEAKERS: Final = "spk_dict.pt"
_ALTERNATIVES: Final = (
    ("tokenizer.json", "vocab.json"),
    ("tokenizer_config.json",),
    ("preprocessor_config.json", "processor_config.json"),
)
"""Files of which one of each row must be there, beside config and weights."""
_MODEL_TYPE: Final = "qwen2_5_omni"
_DAMAGED_ARCHIVE: Final = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What torch.load raises: whatever its unpickler stumbles over."""


class CheckpointError(Exception):
    """Lists every missing or damaged file of a checkpoint, one on each line, and what to do."""

    def __init__(self, folder: Path, problems: Iterable[str]) -> None:
        lines = "".join(f"\n- {problem}" for problem in problems)
        super().__init__(
            f"cannot use the checkpoint in {folder}:{lines}\n"
            "Fetch the files that are named again, or correct `spec.model.source`."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A voice: the thinker token that announces it, and what the DiT is conditioned on."""

    bos_token: int
    cond: Tensor  # (1, enc_emb_dim)
    ref_mel: Tensor  # (1, frames, 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`files` says where each tensor is; `speakers` is empty for a model without speech."""

    folder: Path
    config: Qwen2_5OmniConfig
    generation: Mapping[str, Any]
    speakers: Mapping[str, Speaker]
    files: Mapping[str, Path] = field(repr=False)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end the thinker's reply: those of the generation config, else those of the model's."""
        ids = _end_token_ids(self.config, self.generation)
        return frozenset([ids] if isinstance(ids, int) else ids)

    def load(self, prefix: str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The tensors under `prefix` (all, or those named) by the rest of their names, as stored."""
        wanted = [name for name in self.files if name.startswith(prefix)]
        if names is not None:
            wanted = [prefix + name for name in names]
        tensors: dict[str, Tensor] = {}
        for file, inside in self._by_file(wanted).items():
            with safe_open(file, framework="pt") as reader:
                tensors |= {name.removeprefix(prefix): reader.get_tensor(name) for name in inside}
        return tensors

    def rows(self, name: str, ids: Iterable[int]) -> Tensor:
        """Rows of one matrix in the order of `ids`, without reading the others."""
        ((file, _),) = self._by_file([name]).items()
        with safe_open(file, framework="pt") as reader:
            matrix = reader.get_slice(name)
            return torch.cat([matrix[row : row + 1] for row in ids])

    def _by_file(self, wanted: Iterable[str]) -> dict[Path, list[str]]:
        grouped: dict[Path, list[str]] = {}
        for name in wanted:
            if name not in self.files:
                raise CheckpointError(self.folder, [f"no file holds the tensor {name}"])
            grouped.setdefault(self.files[name], []).append(name)
        return grouped


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Check the folder and read all but its weights. Raises CheckpointError with every fault found."""
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(folder, ["there is no such folder"])
    inspection = _Inspection(folder)
    config = inspection.read_config()
    generation = inspection.read_json("generation_config.json") or {}
    files = inspection.find_tensors()
    speakers = inspection.read_speakers() if config is not None and config.enable_audio_output else {}
    if config is not None and not _end_token_ids(config, generation):
        inspection.problems.append("config.json: thinker_config has no eos_token_id, so no reply would end")
    inspection.check_presence()
    if inspection.problems or config is None:
        raise CheckpointError(folder, inspection.problems)
    return Checkpoint(
        folder=folder,
        config=config,
        generation=MappingProxyType(generation),
        speakers=MappingProxyType(speakers),
        files=MappingProxyType(files),
    )


class _Inspection:
    """Reads a folder's files and gathers what is wrong with them instead of stopping at the first fault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def read_json(self, name: str, *, required: bool = False) -> dict[str, Any] | None:
        """The file's object, or None if there is none to read."""
        try:
            content = json.loads((self.folder / name).read_bytes())
        except FileNotFoundError:
            if required:
                self.problems.append(f"{name}: missing")
            return None
        except (OSError, ValueError) as error:
            self.problems.append(f"{name}: not readable as JSON ({error})")
            return None
        if not isinstance(content, dict):
            self.problems.append(f"{name}: holds a {type(content).__name__}, not an object")
            return None
        return content

    def read_config(self) -> Qwen2_5OmniConfig | None:
        content = self.read_json("config.json", required=True)
        if content is None:
            return None
        if content.get("model_type") != _MODEL_TYPE:
            self.problems.append(
                f"config.json: model_type is {content.get('model_type')!r}, not {_MODEL_TYPE!r}"
            )
            return None
        try:
            with _without_notices():
                return Qwen2_5OmniConfig.from_dict(content)
        except (KeyError, TypeError, ValueError) as error:
            self.problems.append(f"config.json: {error}")
            return None

    def find_tensors(self) -> dict[str, Path]:
        """Where each tensor is, by the index if there is one."""
        if not (self.folder / _INDEX).exists():
            return dict.fromkeys(self._tensor_names(_WHOLE), self.folder / _WHOLE)
        weight_map = (self.read_json(_INDEX) or {}).get("weight_map")
        if not isinstance(weight_map, dict):
            self.problems.append(f"{_INDEX}: has no weight_map")
            return {}
        for shard in sorted(set(weight_map.values())):
            listed = {name for name, file in weight_map.items() if file == shard}
            held = self._tensor_names(shard)
            if held and (missing := listed - held):
                self.problems.append(
                    f"{shard}: lacks {len(missing)} tensors of the index, e.g. {min(missing)}"
                )
        return {name: self.folder / shard for name, shard in weight_map.items()}

    def _tensor_names(self, name: str) -> frozenset[str]:
        try:
            return read_tensor_names(self.folder / name)
        except TensorFileError as error:
            self.problems.append(f"{name}: {error}")
            return frozenset()

    def read_speakers(self) -> dict[str, Speaker]:
        path = self.folder / _SPEAKERS
        try:
            voices = torch.load(path, map_location="cpu", weights_only=True)
            return {str(name): _speaker(voice) for name, voice in voices.items()}
        except FileNotFoundError:
            self.problems.append(f"{_SPEAKERS}: missing")
            return {}
        except _DAMAGED_ARCHIVE as error:
            self.problems.append(f"{_SPEAKERS}: not readable ({type(error).__name__}: {error})")
            return {}

    def check_presence(self) -> None:
        for names in _ALTERNATIVES:
            if not any((self.folder / name).exists() for name in names):
                self.problems.append(f"{' or '.join(names)}: missing")


@contextmanager
def _without_notices() -> Iterator[None]:
    """Transformers warns of the thinker tokens in the published talker config, beyond that vocabulary."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)


def _end_token_ids(config: Qwen2_5OmniConfig, generation: Mapping[str, Any]) -> int | list[int]:
    thinker = config.thinker_config
    ids: int | list[int] | None = generation.get("eos_token_id") or getattr(thinker, "eos_token_id", None)
    return ids or thinker.text_config.eos_token_id or []


def _speaker(voice: Mapping[str, Any]) -> Speaker:
    return Speaker(bos_token=int(voice["bos_token"]), cond=voice["cond"], ref_mel=voice["ref_mel"])
