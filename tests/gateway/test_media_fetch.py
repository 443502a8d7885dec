"""Fetching from allowed hosts that misbehave, over real sockets on 127.0.0.1."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from tercet_gateway.media.allowance import Allowance
from tercet_gateway.media.fetch import Fetcher
from tercet_gateway.media.refusals import MediaError
from tercet_gateway.settings import MediaLimits

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FakeResolver(AbstractResolver):
    """Answers with the next of `answers`, the last one for ever; counts what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[int]:
    """The port of a server that answers every request with `handler`."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def limits(port: int, *, allow_private: bool = True, fetch_s: float = 10.0) -> MediaLimits:
    hosts = (f"http://127.0.0.1:{port}", f"http://media.example:{port}")
    return MediaLimits(allowed_hosts=hosts, allow_private=allow_private, fetch_s=fetch_s)


async def fetch(
    settings: MediaLimits,
    url: str,
    *,
    max_bytes: int = 1000,
    allowed_bytes: int = 10_000,
    resolver: AbstractResolver | None = None,
) -> bytes:
    async with Fetcher(settings, resolver) as fetcher:
        return await fetcher.fetch(url, max_bytes, Allowance(allowed_bytes, "bytes"))


def answering(body: bytes, **headers: str) -> Handler:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    return handle


def redirecting(location: str, status: int = 302) -> Handler:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"location": location})

    return handle


async def test_an_allowed_url_is_fetched_without_compression_or_cookies() -> None:
    """The plain case, and the headers of our request."""
    seen: list[web.BaseRequest] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        return web.Response(body=b"picture", headers={"set-cookie": "a=b"})

    async with serve(handle) as port, Fetcher(limits(port)) as fetcher:
        allowance = Allowance(100, "bytes")
        for _ in range(2):
            assert await fetcher.fetch(f"http://127.0.0.1:{port}/a.png", 100, allowance) == b"picture"
    assert [request.headers.get("accept-encoding") for request in seen] == ["identity"] * 2
    assert not any("cookie" in request.headers or "authorization" in request.headers for request in seen)
    assert allowance.left == 100 - 14


async def test_a_name_is_dialled_at_the_address_that_was_checked() -> None:
    """One lookup a request: a second answer has no one to fool."""
    async with serve(answering(b"ok")) as port:
        resolver = FakeResolver("127.0.0.1", "8.8.8.8")
        url = f"http://media.example:{port}/"
        assert await fetch(limits(port), url, resolver=resolver) == b"ok"
    assert resolver.asked == ["media.example"]


async def test_a_name_that_turns_private_is_refused() -> None:
    """Rebinding: the address is checked at each lookup, and nothing is dialled."""
    hits: list[web.BaseRequest] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        hits.append(request)
        return web.Response(body=b"secret")

    async with serve(handle) as port:
        settings = limits(port, allow_private=False)
        with pytest.raises(MediaError) as caught:
            await fetch(settings, f"http://media.example:{port}/", resolver=FakeResolver("127.0.0.1"))
    assert (caught.value.code, hits) == ("media_unavailable", [])


async def test_a_private_address_in_the_url_is_refused_too() -> None:
    """A host that is an address never meets the resolver."""
    async with serve(answering(b"secret")) as port:
        with pytest.raises(MediaError) as caught:
            await fetch(limits(port, allow_private=False), f"http://127.0.0.1:{port}/")
    assert caught.value.code == "media_unavailable"


async def test_a_host_off_the_list_is_not_dialled() -> None:
    """Fetching is off until hosts are allowed."""
    resolver = FakeResolver("8.8.8.8")
    with pytest.raises(MediaError) as caught:
        await fetch(MediaLimits(), "https://media.example/a.png", resolver=resolver)
    assert (caught.value.code, resolver.asked) == ("url_not_allowed", [])


async def test_redirects_are_followed_within_the_list() -> None:
    """Three hops, relative and absolute."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        hop = int(request.path.strip("/"))
        if hop == 3:
            return web.Response(body=b"there")
        return web.Response(status=307, headers={"location": f"/{hop + 1}"})

    async with serve(handle) as port:
        assert await fetch(limits(port), f"http://127.0.0.1:{port}/0") == b"there"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("/again", "media_unavailable"),
        ("http://169.254.169.254/latest", "url_not_allowed"),
        ("https://127.0.0.1/", "url_not_allowed"),
        ("//evil.example/", "url_not_allowed"),
        ("file:///etc/passwd", "invalid_url"),
        ("http://user@127.0.0.1/", "invalid_url"),
    ],
)
async def test_redirects_elsewhere_and_for_ever_are_refused(location: str, code: str) -> None:
    """Each hop is checked like the first URL."""
    async with serve(redirecting(location)) as port:
        with pytest.raises(MediaError) as caught:
            await fetch(limits(port), f"http://127.0.0.1:{port}/")
    assert caught.value.code == code


async def test_a_redirect_to_a_private_name_is_refused() -> None:
    """The second hop's name is looked up and checked as well."""
    async with serve(redirecting("/b")) as port:
        settings = limits(port, allow_private=False)
        with pytest.raises(MediaError) as caught:
            await fetch(settings, f"http://media.example:{port}/", resolver=FakeResolver("10.0.0.1"))
    assert caught.value.code == "media_unavailable"


async def test_a_large_file_is_refused_by_its_length() -> None:
    """Before a byte of it is read."""
    async with serve(answering(bytes(2000))) as port:
        with pytest.raises(MediaError, match="at most 1000 bytes") as caught:
            await fetch(limits(port), f"http://127.0.0.1:{port}/")
    assert caught.value.code == "content_too_large"


async def test_an_endless_body_is_cut_off() -> None:
    """No length was said, so the bytes are counted; the server sees the connection go."""
    gone = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(4096))
        except ConnectionError:
            gone.set()
            raise

    async with serve(handle) as port:
        with pytest.raises(MediaError) as caught:
            await fetch(limits(port), f"http://127.0.0.1:{port}/", max_bytes=100_000, allowed_bytes=10**6)
        await asyncio.wait_for(gone.wait(), 10)
    assert caught.value.code == "content_too_large"


async def test_the_whole_request_shares_one_allowance() -> None:
    """A file within its own limit may still be too much."""
    async with serve(answering(bytes(900))) as port:
        with pytest.raises(MediaError, match="together") as caught:
            await fetch(limits(port), f"http://127.0.0.1:{port}/", allowed_bytes=800)
    assert caught.value.code == "content_too_large"


async def test_a_silent_server_is_left_at_the_deadline() -> None:
    """The deadline counts everything from the lookup to the last byte."""
    release = asyncio.Event()

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with serve(handle) as port:
        with pytest.raises(MediaError) as caught:
            await fetch(limits(port, fetch_s=0.2), f"http://127.0.0.1:{port}/")
        release.set()
    assert caught.value.code == "media_unavailable"


async def _short_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nshort")
    await writer.drain()
    writer.close()


async def test_a_body_shorter_than_its_length_is_refused() -> None:
    """A cut connection is no picture."""
    server = await asyncio.start_server(_short_answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(MediaError) as caught:
            await fetch(limits(port), f"http://127.0.0.1:{port}/")
    assert caught.value.code == "media_unavailable"


@pytest.mark.parametrize(
    "handler",
    [
        answering(b"zipped", **{"content-encoding": "gzip"}),
        answering(b""),
        redirecting("", status=404),
        redirecting("", status=500),
    ],
    ids=["compressed", "empty", "not found", "broken"],
)
async def test_other_answers_are_refused_without_their_reason(handler: Handler) -> None:
    """The caller learns that the URL failed, not what is there."""
    async with serve(handler) as port:
        with pytest.raises(MediaError) as caught:
            await fetch(limits(port), f"http://127.0.0.1:{port}/")
    assert (caught.value.code, caught.value.message) == ("media_unavailable", "The URL could not be fetched.")


async def test_no_more_urls_at_once_than_allowed() -> None:
    """The rest waits for its turn."""
    running, most = 0, 0
    both = asyncio.Event()

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 10)
        running -= 1
        return web.Response(body=b"ok")

    async with serve(handle) as port, Fetcher(replace(limits(port), fetches=2)) as fetcher:
        allowance = Allowance(100, "bytes")
        jobs = [fetcher.fetch(f"http://127.0.0.1:{port}/{i}", 10, allowance) for i in range(4)]
        assert await asyncio.gather(*jobs) == [b"ok"] * 4
    assert most == 2
