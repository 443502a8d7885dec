"""Writes a demo checkpoint folder as Hugging Face lays out Qwen2.5-Omni.

Called through `tercet_engine.demo`. A build is written beside its target and renamed at the end, so an
interrupted one leaves no half checkpoint, and two at once end with one whole.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, Literal

import torch

from tercet_engine.demo.processors import write_processor
from tercet_engine.demo.sizes import SIZES, RandomDemo
from tercet_engine.demo.vocabulary import SPEAKERS, TOKENS
from tercet_engine.demo.weights import build_model, build_speakers

DemoName = Literal["tercet", "tiny", "bench"]

FORMAT: Final = 4
"""Raise it whenever the files change, so that no cache serves the old ones."""


def ensure_demo(name: DemoName, cache_root: Path) -> Path:
    """The folder of the trained demo, which is part of the package, or that of a random one under
    `cache_root`, built if it is not there.

    Raises FileNotFoundError where the package was installed without the trained one.
    """
    if name == "tercet":
        return find_trained()
    folder = cache_root / f"demo-{name}-v{FORMAT}"
    if not folder.exists():
        build_demo(name, folder)
    return folder


def find_trained() -> Path:
    """The checkpoint that `demo/` trained; images that compute nothing leave it out."""
    folder = Path(__file__).parent / "tercet"
    if not folder.exists():
        raise FileNotFoundError(folder)
    return folder


def build_demo(name: RandomDemo, folder: Path) -> None:
    """Leaves a folder that is there as it is: it can only be whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(name, partial)
        _open_to_all(partial)
        _publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    """Temporary folders and safetensors files are private; a checkpoint is shared by its stages."""
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)


def _publish(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _write(name: RandomDemo, folder: Path) -> None:
    size = SIZES[name]
    model = build_model(size)
    model.save_pretrained(folder, max_shard_size="100MB")
    _write_json(folder / "generation_config.json", _generation(name))
    torch.save(build_speakers(size, SPEAKERS), folder / "spk_dict.pt")
    write_processor(folder)


def _generation(name: RandomDemo) -> dict[str, Any]:
    return {
        "bos_token_id": TOKENS["<|im_start|>"],
        "eos_token_id": [TOKENS["<|im_end|>"], TOKENS["<|endoftext|>"]],
        "pad_token_id": TOKENS["<|endoftext|>"],
        "do_sample": True,
        "temperature": 0.9,
        "top_k": 20,
        "top_p": 0.9,
        "repetition_penalty": 1.05,
        "max_new_tokens": 64 if name == "tiny" else 256,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
