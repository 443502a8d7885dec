"""How this package compiles with numba, and where compiled code is kept from one start to the next.

Used by all modules named `compiled...`, which are imported by who is about to decode on a CPU. Their code is
kept in the user's cache, in a folder of its own for each state of these modules: numba itself only notices a
change of the file in which a function stands, not of those that it calls.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numba
from llvmlite import binding

_log = logging.getLogger(__name__)

FAST: Final = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}
"""Sums in whatever order is fast; a division by zero is no exception, and what is no number stays none, by
which a broken turn is known.
"""
_features: Final = binding.get_host_cpu_features()
if numba.config.CPU_FEATURES is None and _features.get("avx512f"):
    # Products take vectors of the whole width in any case; LLVM would take half of it for all else.
    numba.config.CPU_FEATURES = f"{_features.flatten()},-prefer-256-bit"
_OLD_S: Final = 30 * 24 * 3600.0
"""Folders of other states of the sources go after so long."""


def _open_cache() -> Path | None:
    """None where nothing can be written: all is compiled anew at each start then."""
    state = hashlib.sha256(f"{binding.get_host_cpu_name()} {_features}".encode())
    try:
        for path in sorted(Path(__file__).parents[1].rglob("*.py")):
            state.update(path.read_bytes())
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "tercet" / "compiled" / state.hexdigest()[:16]
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _drop_old(folder.parent)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where nobody knows the user's home
        return None


def _drop_old(parent: Path) -> None:
    for folder in parent.iterdir():
        if folder.stat().st_mtime < time.time() - _OLD_S:
            shutil.rmtree(folder, ignore_errors=True)


_CACHE: Final = _open_cache()
if _CACHE is not None:
    numba.config.CACHE_DIR = str(_CACHE)

inline: Final[Callable[..., Any]] = numba.njit(**FAST, forceinline=True)
"""A function that becomes part of compiled ones; what they give it as a constant is one in it."""


def compile_kept(signature: Any, constants: Sequence[int], function: Callable[..., Any]) -> Any:
    """A function that others call by its address.

    It is found in the cache again if what stands around it are these constants only, and all that it calls
    stands in modules. Its name has them too: numba keeps functions of one name in one file, and two processes
    that write different ones at a time would leave one's code under the other's key.
    """
    function.__qualname__ = "_".join([function.__name__, *map(str, constants)])
    if _CACHE is not None:
        try:
            return numba.cfunc(signature, **FAST, cache=True)(function)
        except Exception:  # noqa: BLE001 - a full disk or a torn file; what else is wrong is raised below
            _log.warning("compiled code in %s cannot be used", _CACHE, exc_info=True)
    return numba.cfunc(signature, **FAST)(function)
