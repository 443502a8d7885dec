"""Why a container ended, where Kubernetes looks for it: it then stands in the pod's status.

Used by `main`. Outside a pod there is no such file, and nothing happens.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

MESSAGE_FILE: Final = Path("/dev/termination-log")


def leave_message(text: str, file: Path = MESSAGE_FILE) -> None:
    with suppress(OSError), file.open("r+") as message:  # r+: never makes the file
        message.truncate()
        message.write(text)
