"""The one error of the command line.

    CommandError            a command cannot go on
    +-- SourceError         a checkpoint cannot be had

`main` prints its text on one line and exits with 1; anything else is a bug and keeps its traceback.
"""


class CommandError(Exception):
    """What was attempted, on which object, and what to do about it, in one line."""


class SourceError(CommandError):
    """A model source does not lead to a whole checkpoint."""
