"""The images hold what pods ask of them, names that stand in the Dockerfile and in code, and are small."""

import gzip
import io
import json
import random
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tercet_operator.resources.pods import USER_ID
from tercet_wire.names import COLOCATED, Stage

from hack import image_sizes
from tests.gateway import check_media

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n((?:(?!FROM ).*\n)*)", DOCKERFILE, re.MULTILINE))
IMAGES = ("operator", "gateway", "engine-cpu", "engine")
ENGINES = ("engine-cpu", "engine")
PRODUCTS = {
    "operator": "control-product",
    "gateway": "control-product",
    "engine-cpu": "product",
    "engine": "engine-product",
}
"""The stages with Tercet itself; those of the control plane leave out the demo's weights."""


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_runs_as_root(image: str) -> None:
    """And all as the user that pods name."""
    assert re.findall(r"^USER (.*)$", STAGES[image], re.MULTILINE) == [f"{USER_ID}:{USER_ID}"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_gets_packages_from_its_own_build_stage_and_tercet_last(image: str) -> None:
    """What changes often moves the least."""
    copies = re.findall(r"^COPY --from=(\S+) (\S+)", STAGES[image], re.MULTILINE)
    assert copies[-2:-1] == [(f"{image}-packages", "/opt/tercet/venv")]
    assert copies[-1][0] == PRODUCTS[image]
    assert f"requirements/{image}.txt" in STAGES[f"{image}-packages"]


def test_the_control_plane_carries_no_weights() -> None:
    """A gateway image has 150 MB to stay below, and computes nothing."""
    assert "rm -r" in STAGES["control-product"]
    assert STAGES["control-product"].rstrip().endswith("tercet_engine/demo/tercet")
    assert (ROOT / "engine/tercet_engine/demo/tercet").is_dir()


@pytest.mark.parametrize("image", ENGINES)
def test_each_kind_of_server_finds_its_models_and_no_others(image: str) -> None:
    """Triton loads all that a folder holds."""
    copied = dict(re.findall(r"^COPY (model_repo\S*) /opt/tercet/models/(\S+)$", STAGES[image], re.MULTILINE))
    single = {f"model_repo/{stage}": f"{stage}/{stage}" for stage in Stage}
    assert copied == {"model_repo": COLOCATED, **single}


def test_the_build_uses_the_makefiles_uv() -> None:
    """One version resolves, installs and builds."""
    (wanted,) = re.findall(r"^UV_VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"uv==(\S+)", DOCKERFILE)) == {wanted}


def test_what_the_gateway_image_is_checked_with_holds_in_this_tree() -> None:
    """The build decodes every kind of media with the image's own packages."""
    command = [sys.executable, "-m", check_media.__name__]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert "8 videos" in checked.stdout
    assert "python3 -m tests.gateway.check_media" in STAGES["gateway"]
    assert {"!tests/gateway/check_media.py", "!tests/gateway/media_samples.py"} <= set(
        (ROOT / ".dockerignore").read_text().split()
    )


def test_an_image_is_as_large_as_its_layers_with_gzip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As registries keep them; printed, and kept beside the archive."""
    base, product = random.Random(1).randbytes(2_000_000), bytes(1_000_000)
    archive = _pack(tmp_path / "gateway.tar", {"base.tar": base, "product.tar": product})
    assert image_sizes.main([archive]) == 0
    kept = image_sizes.read_images(tmp_path / "sizes.json")["gateway"]
    assert [layer.bytes for layer in kept.layers] == [2_000_000, 1_000_000]
    expected = [len(gzip.compress(layer, 6)) for layer in (base, product)]
    assert [layer.compressed_bytes for layer in kept.layers] == pytest.approx(expected, rel=0.01)
    assert "gateway: 3 MB, compressed 2.0 MB (layers: 2.0, 0.0)" in capsys.readouterr().out


def test_a_layer_that_is_known_is_not_compressed_again(tmp_path: Path) -> None:
    """Else every change of the code would cost a minute; layers are named after their content."""
    image_sizes.main([_pack(tmp_path / "gateway.tar", {"base.tar": b"base"})])
    archive = _pack(tmp_path / "operator.tar", {"base.tar": b"other content", "new.tar": b"new"})
    image_sizes.main([archive])
    kept = image_sizes.read_images(tmp_path / "sizes.json")
    assert [layer.bytes for layer in kept["operator"].layers] == [len(b"base"), len(b"new")]
    assert set(kept) == {"gateway", "operator"}


@pytest.mark.parametrize(("name", "code"), [("operator", 1), ("gateway", 1), ("engine-cpu", 0)])
def test_an_image_that_nodes_pull_often_may_not_be_large(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Operator and gateway have a limit, engines are what torch makes them."""
    monkeypatch.setattr(image_sizes, "LIMITS_MB", dict.fromkeys(image_sizes.LIMITS_MB, 1))
    archive = _pack(tmp_path / f"{name}.tar", {"base.tar": random.Random(1).randbytes(1_100_000)})
    assert image_sizes.main([archive]) == code
    assert ("; more than 1 MB" in capsys.readouterr().out) is bool(code)


def _pack(path: Path, layers: dict[str, bytes]) -> Path:
    """An archive as `docker save` makes it."""
    files = {"manifest.json": json.dumps([{"Layers": list(layers)}]).encode()} | layers
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
