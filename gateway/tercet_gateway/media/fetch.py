"""Gets a media URL's bytes from the hosts that the settings allow, and from nowhere else.

Opened and used by `reader`. The guard is in `addresses` and `resolving`; this module bounds what an allowed
host can do to us: time, bytes, redirects, encodings. A caller learns that a URL failed, never why: the
reason goes to the log, so that a fetch cannot be used to look around inside.
"""

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from tercet_gateway.logs import log_event
from tercet_gateway.media.addresses import check_url, is_numeric, is_public, parse_allowed_hosts
from tercet_gateway.media.allowance import Allowance
from tercet_gateway.media.refusals import MediaError, too_large
from tercet_gateway.media.resolving import GuardedResolver, PrivateAddressError
from tercet_gateway.settings import MediaLimits

_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PIECE_BYTES: Final = 64 * 1024

log = logging.getLogger(__name__)


class Fetcher:
    """An async context manager: the connections live as long as it is open."""

    def __init__(self, limits: MediaLimits, resolver: AbstractResolver | None = None) -> None:
        self._limits = limits
        self._allowed = parse_allowed_hosts(limits.allowed_hosts)
        self._resolver = resolver
        self._slots = asyncio.Semaphore(limits.fetches)

    async def __aenter__(self) -> Self:
        guard = GuardedResolver(
            self._resolver or aiohttp.ThreadedResolver(), allow_private=self._limits.allow_private
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=guard, use_dns_cache=False, limit=self._limits.fetches),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", "user-agent": "tercet"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def fetch(self, url: str, max_bytes: int, allowance: Allowance) -> bytes:
        target = check_url(url, self._allowed)
        try:
            async with asyncio.timeout(self._limits.fetch_s), self._slots:
                return await self._follow(target, max_bytes, allowance)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # OSError: also the timeout
            log_event(log, "media_fetch_failed", host=target.host, reason=repr(error))
            raise _unavailable() from error

    async def _follow(self, target: URL, max_bytes: int, allowance: Allowance) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_numeric(target)
            async with self._session.get(target, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _read_body(response, max_bytes, allowance)
                location = response.headers.get("location", "")
            target = check_url(location, self._allowed, base=target)
        raise MediaError(f"The URL redirects more than {_MAX_REDIRECTS} times.", "media_unavailable")

    def _check_numeric(self, target: URL) -> None:
        """A host that is an address never passes the resolver."""
        host = target.host or ""
        if is_numeric(host) and not self._limits.allow_private and not is_public(host):
            raise PrivateAddressError(f"{host} is not a public address")


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int, allowance: Allowance) -> bytes:
    if response.status != 200:
        raise aiohttp.ClientError(f"answered {response.status}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise aiohttp.ClientError("answered with a content encoding that was not asked for")
    if (response.content_length or 0) > max_bytes:
        raise too_large(f"The file may have at most {max_bytes} bytes.")
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        body += piece
        allowance.take(len(piece))
        if len(body) > max_bytes:
            raise too_large(f"The file may have at most {max_bytes} bytes.")
    if not body:
        raise aiohttp.ClientError("answered with an empty body")
    return bytes(body)


def _unavailable() -> MediaError:
    return MediaError("The URL could not be fetched.", "media_unavailable")
