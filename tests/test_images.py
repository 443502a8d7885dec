"""The images hold what pods ask of them: names that stand in the Dockerfile and in code."""

import re
from pathlib import Path

import pytest
from tercet_operator.resources.pods import USER_ID
from tercet_wire.names import COLOCATED, Stage

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n((?:(?!FROM ).*\n)*)", DOCKERFILE, re.MULTILINE))
IMAGES = ("operator", "gateway", "engine-cpu", "engine")
ENGINES = ("engine-cpu", "engine")


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_runs_as_root(image: str) -> None:
    """And all as the user that pods name."""
    assert re.findall(r"^USER (.*)$", STAGES[image], re.MULTILINE) == [f"{USER_ID}:{USER_ID}"]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_gets_packages_from_its_own_build_stage_and_tercet_last(image: str) -> None:
    """What changes often moves the least."""
    copies = re.findall(r"^COPY --from=(\S+) (\S+)", STAGES[image], re.MULTILINE)
    assert copies[-2:-1] == [(f"{image}-packages", "/opt/tercet/venv")]
    assert copies[-1][0] in {"product", "engine-product"}
    assert f"requirements/{image}.txt" in STAGES[f"{image}-packages"]


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
