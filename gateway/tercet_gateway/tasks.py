"""A task group that raises the first failure itself, not a group of one.

So callers catch a failure by its type, whether it came from their own line or from a task beside it.
"""

import asyncio
from types import TracebackType


class Tasks(asyncio.TaskGroup):
    """All tasks have ended when the block is left; one that fails ends the others and the block."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failure = None
        try:
            await super().__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            failure = _first(group)
            group.with_traceback(None)
        try:
            if failure is not None:
                raise failure
        finally:
            # Its traceback holds this frame: in a circle the media that failed would outlive their request.
            del failure, error, traceback


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
