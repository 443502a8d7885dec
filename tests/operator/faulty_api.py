"""Faults of an API server, as functions that a `FakeApi` asks before it answers.

Each lets some requests through, so that whoever goes on trying gets there.
"""

import asyncio
from itertools import count

from aiohttp import web

from tests.operator.fake_api import WRITES, Fault, answer_status


def conflict() -> Fault:
    """409 for every seventh write: somebody else was faster."""
    requests = count()

    async def fault(request: web.Request) -> web.Response | None:
        if request.method not in WRITES or next(requests) % 7:
            return None
        return answer_status(409, "Conflict", "somebody was faster")

    return fault


def throttle() -> Fault:
    """429 for every eighth request, with a time to wait, as from API priority and fairness."""
    requests = count()

    async def fault(request: web.Request) -> web.Response | None:
        if next(requests) % 8 != 1:
            return None
        return answer_status(429, "TooManyRequests", "busy", **{"Retry-After": "1"})

    return fault


def fail_in_bursts(*statuses: int, healthy: int = 16, broken: int = 3) -> Fault:
    """So many answers, then so many failures, again and again."""
    requests = count()

    async def fault(request: web.Request) -> web.Response | None:
        number = next(requests)
        if number % (healthy + broken) < healthy:
            return None
        return answer_status(statuses[number % len(statuses)], "InternalError", "etcd has no leader")

    return fault


def speak_like_a_proxy() -> Fault:
    """Every ninth write is answered by something in between, which knows no Status documents."""
    requests = count()

    async def fault(request: web.Request) -> web.Response | None:
        if request.method in WRITES and next(requests) % 9 == 0:
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return None

    return fault


def hang_up() -> Fault:
    """The connection of every seventh write is closed without an answer."""
    requests = count()

    async def fault(request: web.Request) -> web.Response | None:
        if request.method in WRITES and next(requests) % 7 == 0 and request.transport is not None:
            request.transport.close()
        return None

    return fault


def delay(seconds: float, *, lists_only: bool = False) -> Fault:
    async def fault(request: web.Request) -> web.Response | None:
        is_list = (
            request.method == "GET" and "watch" not in request.query and "name" not in request.match_info
        )
        if is_list or not lists_only:
            await asyncio.sleep(seconds)
        return None

    return fault
