"""The Triton server of the `nvidia-pytriton` wheel, ready to be started: binary, backend folder, libraries.

Used by `up`. The wheel keeps the Python backend and its stubs apart; the stub for this Python is put beside
the backend in a cache folder. Whatever is missing is named together with what installs it.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tercet_cli.errors import CommandError

_WHEEL: Final = "nvidia-pytriton"
_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_LIBPYTHON: Final = f"libpython{_PYTHON}.so.1.0"
_STUB: Final = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonInstallation:
    binary: Path
    backend_directory: Path
    libraries: tuple[Path, ...]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """`inherited`, so that the loader finds the libraries and the stub this very Python."""
        libraries = [*map(str, self.libraries), inherited.get("LD_LIBRARY_PATH", "")]
        path = [str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]
        return {
            **inherited,
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
            "PATH": os.pathsep.join(path),
        }


def prepare_triton(cache_root: Path) -> TritonInstallation:
    """Idempotent, and safe beside another launcher that does the same."""
    package = _find_wheel()
    server = package / "tritonserver"
    binary = server / "bin" / "tritonserver"
    if not binary.is_file():
        raise CommandError(
            f"{binary} is missing: install the wheel anew with `pip install --force-reinstall {_WHEEL}`"
        )
    version = importlib.metadata.version(_WHEEL)
    return TritonInstallation(
        binary=binary,
        backend_directory=_prepare_backends(server, cache_root / "triton" / f"{version}-python{_PYTHON}"),
        libraries=(package.parent / "nvidia_pytriton.libs", _find_libpython()),
    )


def _find_wheel() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise CommandError("no Triton server here: install it with `pip install 'tercet[triton]'`")
    return Path(spec.submodule_search_locations[0])


def _prepare_backends(server: Path, target: Path) -> Path:
    """`target` appears whole, by a rename, or not at all."""
    stub = server / "python_backend_stubs" / _PYTHON / _STUB
    if not stub.is_file():
        raise CommandError(f"{_WHEEL} has no stub for Python {_PYTHON}: run tercet with Python 3.11")
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        shutil.copytree(server / "backends" / "python", fresh / "python")
        shutil.copy2(stub, fresh / "python" / _STUB)
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh)
        if not target.is_dir():  # no other launcher was faster
            raise
    return target


def _find_libpython() -> Path:
    """The folder of the shared library that the stub is linked to."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [
        Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix),
        Path(sys.base_prefix) / "lib",
        Path("/usr/lib") / multiarch,
        Path("/usr/lib64"),
        Path("/usr/local/lib"),
    ]
    for folder in folders:
        if (folder / _LIBPYTHON).exists():
            return folder
    raise CommandError(
        f"{_LIBPYTHON} is not on this machine: install it (Debian: apt-get install libpython{_PYTHON}), "
        "or use a Python that brings it, such as uv's"
    )
