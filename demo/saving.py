"""How the demo's training keeps what it makes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


# Any: tensors, numbers and containers of them.
def save_whole(held: Mapping[str, Any], path: Path) -> None:
    """As `torch.save`, but the file is there only once it is whole: a step that has its file is done."""
    partial = path.with_suffix(".partial")
    torch.save(dict(held), partial)
    partial.rename(path)
