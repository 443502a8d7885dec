"""A fixed path to a checkpoint whose folder's name changes with its revision.

Used by `fetch`: a server's settings name the link. It appears whole, and where link and folder lie in the
same cache it is relative, so that it holds wherever the volume is mounted.
"""

import os
import tempfile
from pathlib import Path

from tercet_cli.errors import CommandError


def link_folder(link: Path, folder: Path, cache: Path) -> None:
    """Replaces a link that is there; of a folder or a file it says that it stands in the way."""
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        _replace(link, _find_target(link, folder, cache))
    except IsADirectoryError as error:
        raise CommandError(f"--link {link}: a folder is there: remove it or name another path") from error
    except OSError as error:
        raise CommandError(f"--link {link}: cannot be made: {error.strerror}: name another path") from error


def _find_target(link: Path, folder: Path, cache: Path) -> str:
    place, target, root = (path.absolute() for path in (link.parent, folder, cache))
    inside = place.is_relative_to(root) and target.is_relative_to(root)
    return os.path.relpath(target, place) if inside else str(target)


def _replace(link: Path, target: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{link.name}-", dir=link.parent) as beside:
        fresh = Path(beside) / "link"
        fresh.symlink_to(target)
        fresh.replace(link)
