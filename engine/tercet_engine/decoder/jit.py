"""How this package compiles with numba, and where compiled code is kept from one start to the next.

Used by all modules named `compiled...`, which are imported by who is about to decode on a CPU. Their code is
kept in the user's cache, in a folder of its own for each state of these modules: numba itself only notices a
change of the file in which a function stands, not of those that it calls.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba

FAST: Final = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}
"""Sums in whatever order is fast; a division by zero is no exception, and what is no number stays none, by
which a broken turn is known.
"""


def _find_cache() -> Path | None:
    """None where nothing can be written: all is compiled anew at each start then."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        sources.update(path.read_bytes())
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "tercet" / "compiled" / sources.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where nobody knows the user's home
        return None


_CACHE: Final = _find_cache()
if _CACHE is not None:
    numba.config.CACHE_DIR = str(_CACHE)

inline: Final[Callable[..., Any]] = numba.njit(**FAST, forceinline=True)
"""A function that becomes part of compiled ones; what they give it as a constant is one in it."""

KEPT: Final = {**FAST, "cache": _CACHE is not None}
"""For functions that others call by their address. They are found in the cache again if sizes are numbers
around them, and other compiled functions stand in modules.
"""
