"""`tercet up`, as far as it comes without a server."""

from pathlib import Path

import pytest
from tercet_cli.errors import CommandError
from tercet_cli.up import up

DEMO = Path(__file__).parents[2] / "examples" / "demo.yaml"


def test_a_cache_that_cannot_be_written_names_its_option(tmp_path: Path) -> None:
    """In one line, as everything the user can mend."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match=r"cannot write to .*file/cache: .*--model-cache"):
        up(DEMO, port=0, metrics_port=0, model_cache=tmp_path / "file" / "cache")
