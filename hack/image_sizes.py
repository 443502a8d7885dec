#!/usr/bin/env python3
"""Says how large images are, and fails where one is larger than it may be: `image_sizes.py ARCHIVE...`.

Called by `images.sh` with the archives it made. Compressed means each layer with gzip, as registries keep and
nodes pull them. The sizes stay in sizes.json beside the archives, and a layer that is found there is not
compressed again. Standard library only: it runs before any environment exists.
"""

import json
import sys
import tarfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

LIMITS_MB: Final = {"operator": 150, "gateway": 150}
"""Compressed."""
CHUNK_BYTES: Final = 2**20
GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    name: str
    """Of its content: the same name is the same layer."""
    bytes: int
    compressed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    name: str
    layers: tuple[Layer, ...]

    @property
    def mb(self) -> float:
        return sum(layer.bytes for layer in self.layers) / 1e6

    @property
    def compressed_mb(self) -> float:
        return sum(layer.compressed_bytes for layer in self.layers) / 1e6

    @property
    def is_too_large(self) -> bool:
        return self.compressed_mb > LIMITS_MB.get(self.name, float("inf"))

    def describe(self) -> str:
        layers = ", ".join(f"{layer.compressed_bytes / 1e6:.1f}" for layer in self.layers)
        text = f"{self.name}: {self.mb:.0f} MB, compressed {self.compressed_mb:.1f} MB (layers: {layers})"
        return f"{text}; more than {LIMITS_MB[self.name]} MB" if self.is_too_large else text


def main(archives: list[Path]) -> int:
    kept_at = archives[0].parent / "sizes.json"
    kept = read_images(kept_at)
    known = {layer.name: layer for image in kept.values() for layer in image.layers}
    measured = [measure(archive, known) for archive in archives]
    kept |= {image.name: image for image in measured}
    kept_at.write_text(json.dumps([asdict(image) for image in kept.values()], indent=2) + "\n")
    for image in measured:
        print(image.describe())
    return int(any(image.is_too_large for image in measured))


def read_images(path: Path) -> dict[str, Image]:
    documents = json.loads(path.read_text()) if path.exists() else []
    images = (
        Image(name=each["name"], layers=tuple(Layer(**layer) for layer in each["layers"]))
        for each in documents
    )
    return {image.name: image for image in images}


def measure(archive: Path, known: Mapping[str, Layer]) -> Image:
    """Of an archive in docker's format."""
    with tarfile.open(archive) as opened:
        manifest = opened.extractfile("manifest.json")
        assert manifest is not None
        (image,) = json.load(manifest)
    with ThreadPoolExecutor() as threads:  # zlib lets go of the interpreter
        layers = threads.map(lambda name: known.get(name) or compress(archive, name), image["Layers"])
        return Image(name=archive.stem, layers=tuple(layers))


def compress(archive: Path, name: str) -> Layer:
    compressor = zlib.compressobj(wbits=GZIP)
    before = after = 0
    with tarfile.open(archive) as opened:
        layer = opened.extractfile(name)
        assert layer is not None
        while chunk := layer.read(CHUNK_BYTES):
            before += len(chunk)
            after += len(compressor.compress(chunk))
    return Layer(name=name, bytes=before, compressed_bytes=after + len(compressor.flush()))


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
