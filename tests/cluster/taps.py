"""A tap on the line between an operator and the API server: it counts writes, and can end things at one.

The operator is given the tap's kubeconfig. Every request passes unchanged; the election's lease is no write.
"""

import asyncio
import base64
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

READS: Final = {"GET", "HEAD"}
PASSED: Final = ("Authorization", "Content-Type", "Accept")
START_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    at: float
    method: str
    path: str


class Tap:
    """`written` is called from another thread once a write is done, before the operator hears of it."""

    def __init__(
        self, kubeconfig: Path, folder: Path, written: Callable[[Write], None] = lambda _: None
    ) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        self._authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._document = document
        self._written = written
        self.kubeconfig = folder / "tapped.kubeconfig"
        self.writes: list[Write] = []
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(START_S), "the tap did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        context = ssl.create_default_context(cadata=self._authority)
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as session:

            async def hand_on(request: web.Request) -> web.StreamResponse:
                return await self._pass(session, request)

            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", hand_on)
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._write_kubeconfig(runner.addresses[0][1])
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    def _write_kubeconfig(self, port: int) -> None:
        cluster = {"name": "tapped", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {
            "name": "tapped",
            "context": {"cluster": "tapped", "user": self._document["users"][0]["name"]},
        }
        document = self._document | {
            "clusters": [cluster],
            "contexts": [context],
            "current-context": "tapped",
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))

    async def _pass(self, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        url = URL(self._server + request.raw_path, encoded=True)
        body = await request.read()
        async with session.request(request.method, url, data=body or None, headers=headers) as answer:
            if answer.ok and request.method not in READS and "/leases" not in request.path:
                write = Write(at=time.monotonic(), method=request.method, path=request.path)
                self.writes.append(write)
                self._written(write)
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
            )
            with suppress(ConnectionResetError):  # the operator was killed
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response
