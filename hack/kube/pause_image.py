"""Packs the pause program into an OCI archive: `pause_image.py PROGRAM NAME > pause.tar`.

Called by `cluster.sh`, so that the node needs no registry for its pod sandboxes. Standard library only: it
runs before any environment exists.
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def main(program: Path, name: str) -> None:
    layer = build_tar({"pause": program.read_bytes()}, mode=0o755)
    config = render(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    )
    layers = [describe("layer.v1.tar", layer)]
    manifest = render({"schemaVersion": 2, "config": describe("config.v1+json", config), "layers": layers})
    entry = describe("manifest.v1+json", manifest) | {"annotations": {"io.containerd.image.name": name}}
    files = {
        "oci-layout": render({"imageLayoutVersion": "1.0.0"}),
        "index.json": render({"schemaVersion": 2, "manifests": [entry]}),
    }
    files |= {f"blobs/{digest(blob).replace(':', '/')}": blob for blob in (layer, config, manifest)}
    sys.stdout.buffer.write(build_tar(files))


def build_tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def render(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode()


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def describe(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(blob), "size": len(blob)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
