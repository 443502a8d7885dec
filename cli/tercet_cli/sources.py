"""From a model source (`hf://`, `modelscope://`, `file://`, `demo://`) to a checked checkpoint folder.

Called by `tercet fetch`, `tercet up` and the pods' fetch container. Knows neither what a checkpoint holds
(the engine checks that) nor how a hub is spoken to (`hubs` does).
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

from tercet_cli.errors import SourceError
from tercet_cli.fetch_lock import Say, hold_fetch_lock
from tercet_cli.hubs import DEFAULT_REVISION, Hub, HuggingFaceHub, ModelScopeHub, Progress


def find_default_cache() -> Path:
    try:
        home = Path.home()
    except RuntimeError:  # a container whose user has no name and no HOME
        home = Path(tempfile.gettempdir())
    return home / ".cache" / "tercet"


DEFAULT_CACHE: Final = find_default_cache()


def _ignore_progress(done: int, total: int) -> None:
    del done, total


def _ignore(text: str) -> None:
    del text


def resolve_source(
    source: str,
    revision: str = DEFAULT_REVISION,
    cache_root: Path = DEFAULT_CACHE,
    progress: Progress = _ignore_progress,
    hubs: Mapping[str, Hub] | None = None,
    *,
    say: Say = _ignore,
) -> Path:
    """Bring the checkpoint here, if it is not yet, and check it; raises SourceError with the remedy.

    `say` is told why nothing happens for a while.
    """
    scheme, _, rest = source.partition("://")
    hubs = {"hf": HuggingFaceHub(), "modelscope": ModelScopeHub()} if hubs is None else hubs
    if hub := hubs.get(scheme):
        repository = _repository(source, rest)
        with hold_fetch_lock(_writable(cache_root), source, say):
            folder = hub.download(repository, revision, cache_root, progress)
    elif scheme == "file":
        folder = _local_folder(source, rest)
    elif scheme == "demo":
        folder = _demo(source, rest, _writable(cache_root), say)
    elif scheme == "pvc":
        raise SourceError(
            f"{source}: a volume claim exists only in a cluster: apply the file there, "
            "or point model.source at the same folder with file://"
        )
    else:
        raise SourceError(f"{source}: unknown source: use hf://, modelscope://, file:// or demo://")
    _check(source, folder)
    return folder


def _repository(source: str, rest: str) -> str:
    if rest.count("/") != 1 or not all(rest.split("/")):
        raise SourceError(f"{source}: name a repository as owner/name, such as hf://Qwen/Qwen2.5-Omni-3B")
    return rest


def _writable(cache_root: Path) -> Path:
    try:
        cache_root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"the cache folder {cache_root} cannot be made: {error.strerror}: choose another"
        ) from error
    return cache_root


def _local_folder(source: str, rest: str) -> Path:
    folder = Path(rest).expanduser()
    if not folder.is_absolute():
        raise SourceError(f"{source}: the path must be absolute, as in file:///models/omni")
    if not folder.is_dir():
        raise SourceError(
            f"{source}: no such folder: check the path, or fetch the model with `tercet fetch hf://...`"
        )
    return folder


def _demo(source: str, name: str, cache_root: Path, say: Say) -> Path:
    from tercet_engine.demo import DemoName, ensure_demo  # noqa: PLC0415  # imports torch

    known: dict[str, DemoName] = {demo: demo for demo in get_args(DemoName)}
    if name not in known:
        raise SourceError(
            f"{source}: no such demo: use one of {', '.join(f'demo://{demo}' for demo in known)}"
        )
    with hold_fetch_lock(cache_root, source, say):
        try:
            return ensure_demo(known[name], cache_root)
        except FileNotFoundError as error:
            raise SourceError(
                f"{source}: this installation has no {error}: install Tercet from its wheel, or use demo://tiny"
            ) from error


def _check(source: str, folder: Path) -> None:
    from tercet_engine.checkpoint import CheckpointError, open_checkpoint  # noqa: PLC0415  # imports torch

    try:
        open_checkpoint(folder)
    except CheckpointError as error:
        raise SourceError(f"{source}: {error}") from error
