"""A fake API server: HTTP around `fake_objects`, for the kinds that the operator knows, and faults.

Lists come in pages and watches with bookmarks, from a version on, as the real one's do. A fault sees every
request first and may delay it or answer in the server's place.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web
from tercet_operator.cluster import APPLY, PATHS

from tests.operator.fake_objects import Event, FakeObjects, Manifest, Ref, RefusedError, matches

Fault = Callable[[web.Request], Awaitable[web.Response | None]]
KINDS: Final = {location: kind for kind, location in PATHS.items()}
NAMED_ONLY: Final = {
    "Namespace": ("api/v1", "namespaces"),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}
"""Kinds that kopf looks for at its start, and then leaves alone."""
SERVED: Final = {**PATHS, **NAMED_ONLY}
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
BOOKMARK_S: Final = 1.0


def answer_status(status: int, reason: str, message: str = "", **headers: str) -> web.Response:
    """Kubernetes' way to say no."""
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                "reason": reason, "message": message, "details": {}}  # fmt: skip
    return web.json_response(document, status=status, headers=headers)


@dataclass(slots=True, kw_only=True)
class FakeApi:
    """`watch_s`: how long a watch lasts at most."""

    objects: FakeObjects = field(default_factory=FakeObjects)
    fault: Fault | None = None
    watch_s: float = 300.0
    writes: Counter[str] = field(default_factory=Counter)
    """Requests that could write and succeeded, by kind; those to leases among them."""
    watches: int = 0
    """How many were ever begun."""
    url: str = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeApi"]:
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/version", self._answer_version),
                web.get("/api", self._answer_core),
                web.get("/apis", self._answer_groups),
                web.get("/api/v1", self._answer_resources),
                web.get("/apis/{group}/{version}", self._answer_resources),
            ]
        )
        for base in ("/api/v1", "/apis/{group}/{version}"):
            place = base + "/namespaces/{namespace}/{plural}"
            app.router.add_get(base + "/{plural}", self._read_all)
            app.router.add_get(place, self._read_all)
            app.router.add_post(place, self._create)
            for path in (place + "/{name}", place + "/{name}/{part}"):
                app.router.add_get(path, self._read)
                app.router.add_put(path, self._replace)
                app.router.add_patch(path, self._patch)
                app.router.add_delete(path, self._delete)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    def write_kubeconfig(self, path: Path, namespace: str = "default") -> Path:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [
                {"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": namespace}}
            ],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "fake"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.fault is not None and (refused := await self.fault(request)) is not None:
            return refused
        try:
            answer = await handler(request)
        except RefusedError as refusal:
            return answer_status(refusal.status, refusal.reason, refusal.message)
        if request.method in WRITES:
            self.writes[_find_kind(request)] += 1
        return answer

    # --- discovery ---

    async def _answer_version(self, _: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "35"})

    async def _answer_core(self, _: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1"]})

    async def _answer_groups(self, _: web.Request) -> web.Response:
        named = {path for path, _ in SERVED.values() if path.startswith("apis/")}
        groups = [path.split("/")[1:] for path in sorted(named)]
        return web.json_response(
            {
                "groups": [
                    {
                        "name": group,
                        "versions": [{"version": version}],
                        "preferredVersion": {"version": version},
                    }
                    for group, version in groups
                ]
            }
        )

    async def _answer_resources(self, request: web.Request) -> web.Response:
        base = request.path.strip("/")
        found = [(kind, plural) for kind, (path, plural) in SERVED.items() if path == base]
        if not found:
            raise RefusedError(404, "NotFound")
        verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
        return web.json_response(
            {
                "resources": [
                    {
                        "name": plural,
                        "kind": kind,
                        "singularName": kind.lower(),
                        "namespaced": kind not in NAMED_ONLY,
                        "verbs": verbs,
                    }
                    for kind, plural in found
                ]
            }
        )

    # --- verbs ---

    async def _read_all(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        kind, labels = _find_kind(request), _find_labels(request)
        items = self.objects.list(kind, request.match_info.get("namespace"), labels)
        for item in items:
            del item["kind"]
            item.pop("apiVersion", None)
        start = int(request.query.get("continue") or 0)
        end = start + int(request.query.get("limit") or len(items) or 1)
        metadata = {"resourceVersion": str(self.objects.version)}
        if end < len(items):
            metadata["continue"] = str(end)
        path = PATHS[kind][0].partition("/")[2]
        return web.json_response(
            {"kind": f"{kind}List", "apiVersion": path, "metadata": metadata, "items": items[start:end]}
        )

    async def _read(self, request: web.Request) -> web.Response:
        return web.json_response(self.objects.get(_find_ref(request)))

    async def _create(self, request: web.Request) -> web.Response:
        manifest = await _read_body(request)
        manifest["metadata"]["namespace"] = request.match_info["namespace"]
        return web.json_response(self.objects.create(manifest), status=201)

    async def _replace(self, request: web.Request) -> web.Response:
        manifest = {"kind": _find_kind(request), **await _read_body(request)}
        return web.json_response(self.objects.replace(manifest))

    async def _patch(self, request: web.Request) -> web.Response:
        ref, part = _find_ref(request), request.match_info.get("part", "")
        document = await _read_body(request)
        if part == "scale":
            self.objects.patch(ref, {"spec": {"replicas": document["spec"]["replicas"]}})
            return web.json_response({"kind": "Scale", "spec": document["spec"]})
        if request.content_type == APPLY:
            manager = request.query["fieldManager"]
            return web.json_response(self.objects.apply(document, manager, part))
        document = {"kind": ref[0], "metadata": {"namespace": ref[1], "name": ref[2]}} | document
        return web.json_response(self.objects.patch(ref, document, part))

    async def _delete(self, request: web.Request) -> web.Response:
        body = await _read_body(request)
        uid = body.get("preconditions", {}).get("uid")
        return web.json_response(self.objects.delete(_find_ref(request), uid))

    # --- watches ---

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        self.watches += 1
        news = asyncio.Event()
        self.objects.listeners.append(news.set)
        try:
            async with asyncio.timeout(min(self.watch_s, float(request.query.get("timeoutSeconds", "300")))):
                await self._tell(request, answer, news)
        except (TimeoutError, ConnectionResetError):
            pass  # the end of every watch
        finally:
            self.objects.listeners.remove(news.set)
        return answer

    async def _tell(self, request: web.Request, answer: web.StreamResponse, news: asyncio.Event) -> None:
        since = int(request.query.get("resourceVersion") or self.objects.version)
        if since < self.objects.oldest - 1:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await _send(answer, "ERROR", gone)
            return
        told = _count_until(self.objects.history, since)
        while True:
            news.clear()
            for event in self.objects.history[told:]:
                told += 1
                if _is_asked_for(request, event):
                    await _send(answer, event.type, event.object)
            try:
                async with asyncio.timeout(BOOKMARK_S):
                    await news.wait()
            except TimeoutError:
                await _send(answer, "BOOKMARK", self._build_bookmark(request))

    def _build_bookmark(self, request: web.Request) -> Manifest:
        kind = _find_kind(request)
        path = PATHS[kind][0].partition("/")[2]
        return {"kind": kind, "apiVersion": path, "metadata": {"resourceVersion": str(self.objects.version)}}


def _count_until(history: list[Event], version: int) -> int:
    return sum(event.version <= version for event in history)


def _is_asked_for(request: web.Request, event: Event) -> bool:
    found = event.object
    namespace = request.match_info.get("namespace")
    return (
        found["kind"] == _find_kind(request)
        and namespace in {None, found["metadata"]["namespace"]}
        and matches(found, _find_labels(request))
    )


async def _send(answer: web.StreamResponse, kind: str, found: Manifest) -> None:
    await answer.write(json.dumps({"type": kind, "object": found}).encode() + b"\n")


async def _read_body(request: web.Request) -> Manifest:
    text = await request.text()
    document: Manifest = json.loads(text) if text else {}
    return document


def _find_kind(request: web.Request) -> str:
    info = request.match_info
    base = f"apis/{info['group']}/{info['version']}" if "group" in info else "api/v1"
    location = (base, info.get("plural", ""))
    if location not in KINDS:
        raise RefusedError(404, "NotFound", f"no such resource: {request.path}")
    return KINDS[location]


def _find_ref(request: web.Request) -> Ref:
    return _find_kind(request), request.match_info["namespace"], request.match_info["name"]


def _find_labels(request: web.Request) -> dict[str, str]:
    selector: Any = request.query.get("labelSelector", "")
    return dict(each.split("=", 1) for each in selector.split(",") if each)
