"""A declared fake of `watching.Source`: lists and watches of an API server, played from a script."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from tercet_gateway.cluster.objects import Deployment
from tercet_gateway.cluster.view import Listed
from tercet_gateway.cluster.watching import News

EMPTY = Listed(Deployment, None, ())

Step = str | Exception | Sequence[News | Exception]
"""A list's version, what a call raises, or what a watch says before it ends."""


class Script:
    """`asked` holds the versions that were followed, None for a list. When the script is over, it hangs."""

    def __init__(self, *steps: Step) -> None:
        self._steps: Iterator[Step] = iter(steps)
        self.asked: list[str | None] = []
        self.is_over = False

    async def read_all(self) -> tuple[Listed, str]:
        self.asked.append(None)
        step = await self._next()
        assert isinstance(step, str)
        return EMPTY, step

    async def follow(self, version: str) -> AsyncGenerator[News]:
        self.asked.append(version)
        step = await self._next()
        assert not isinstance(step, str)
        for news in step:
            if isinstance(news, Exception):
                raise news
            yield news

    async def _next(self) -> str | Sequence[News | Exception]:
        step = next(self._steps, None)
        if step is None:
            self.is_over = True
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step
