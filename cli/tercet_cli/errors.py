"""The errors of the command line.

    CommandError            a command cannot go on
    +-- SourceError         a checkpoint cannot be had
    +-- ComparisonError     whether two things differ cannot be said

`main` prints the text on one line and exits with `exit_code`; anything else is a bug and keeps its traceback.
"""

from typing import ClassVar


class CommandError(Exception):
    """What was attempted, on which object, and what to do about it, in one line."""

    exit_code: ClassVar[int] = 1


class SourceError(CommandError):
    """A model source does not lead to a whole checkpoint."""


class ComparisonError(CommandError):
    """As of `diff`: 1 says that there are differences."""

    exit_code = 2
