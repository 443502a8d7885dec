"""Name lookup that only ever answers with public addresses.

Used by `fetch` as its connector's resolver, so that the address that was checked is the address that is
dialled: a name that answers differently the second time gains nothing.
"""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from tercet_gateway.media.addresses import is_public


class PrivateAddressError(OSError):
    """A name stands for an address inside; to the client it looks like a name that does not resolve."""


class GuardedResolver(AbstractResolver):
    """Owns `inner`: closing this closes it."""

    def __init__(self, inner: AbstractResolver, *, allow_private: bool) -> None:
        self._inner = inner
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answers = await self._inner.resolve(host, port, family)
        if not self._allow_private and not all(is_public(answer["host"]) for answer in answers):
            raise PrivateAddressError(f"{host} has a private address")
        return answers

    async def close(self) -> None:
        await self._inner.close()
