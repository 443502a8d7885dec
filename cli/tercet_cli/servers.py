"""Where a gateway is and how to ask it: URL, key, model, and the one request both clients send.

Used by `chat` (blocking) and `bench` (many at once). Knows httpx; what the answers mean is in `replies`.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tercet_cli.errors import CommandError
from tercet_cli.replies import Delta, ReplyError, error_text, iter_deltas

_TIMEOUT: Final = httpx.Timeout(10.0, read=120.0)
"""A stage may queue and prefill for a minute; the gateway's heartbeats keep a longer wait alive."""

Message = Mapping[str, Any]
"""A chat message as the API takes it; Any, as its content is a string or a list of parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`url` may be given with or without `/v1`."""

    url: str
    key: str | None = None

    @property
    def base_url(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1") + "/v1"

    def client(self) -> httpx.Client:
        return httpx.Client(timeout=_TIMEOUT, **self._address())

    def async_client(self, connections: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, **self._address())

    def _address(self) -> dict[str, Any]:
        return {
            "base_url": self.base_url,
            "headers": {"authorization": f"Bearer {self.key}"} if self.key else {},
            # A proxy of the environment cannot reach this machine's own ports.
            "trust_env": httpx.URL(self.base_url).host not in {"127.0.0.1", "localhost", "::1"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A streamed chat completion. Without a `voice` the deployment's own speaks; OpenAI insists on one."""

    model: str
    messages: Sequence[Message]
    speech: bool
    voice: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    logit_bias: Mapping[str, float] | None = None

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(self.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.speech:
            voice = {} if self.voice is None else {"voice": self.voice}
            body |= {"modalities": ["text", "audio"], "audio": {**voice, "format": "pcm16"}}
        optional = {
            "max_completion_tokens": self.max_tokens,
            "temperature": self.temperature,
            "logit_bias": self.logit_bias,
        }
        return body | {name: value for name, value in optional.items() if value is not None}


def find_model(server: Server, wanted: str | None) -> str:
    """The model asked for, else the first that the server offers."""
    if wanted is not None:
        return wanted
    with server.client() as client, _translated(server):
        response = client.get("models")
        if response.is_error:
            raise ReplyError(error_text(response.status_code, response.content))
        return _first_model(server, response)


def _first_model(server: Server, response: httpx.Response) -> str:
    try:
        models = [str(model["id"]) for model in response.json()["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{server.url} does not speak the OpenAI API: no list at /v1/models") from error
    if not models:
        raise CommandError(f"{server.url} offers no model: is its deployment ready?")
    return models[0]


def iter_reply(server: Server, client: httpx.Client, request: Request) -> Iterator[Delta]:
    """Stream one reply; closing the iterator closes the connection, which cancels the turn."""
    with (
        _translated(server),
        client.stream("POST", "chat/completions", json=request.body()) as response,
    ):
        if response.is_error:
            raise ReplyError(error_text(response.status_code, response.read()))
        for line in response.iter_lines():
            yield from iter_deltas(line)


async def stream_reply(
    server: Server, client: httpx.AsyncClient, request: Request
) -> AsyncGenerator[Delta, None]:
    """The same for an event loop."""
    with _translated(server):
        async with client.stream("POST", "chat/completions", json=request.body()) as response:
            if response.is_error:
                raise ReplyError(error_text(response.status_code, await response.aread()))
            async for line in response.aiter_lines():
                for delta in iter_deltas(line):
                    yield delta


@contextmanager
def _translated(server: Server) -> Iterator[None]:
    """Turn httpx's errors into one line each."""
    try:
        yield
    except httpx.ConnectError as error:
        raise CommandError(
            f"nothing answers at {server.url}: start it with `tercet up` or give --url"
        ) from error
    except httpx.TimeoutException as error:
        raise CommandError(f"{server.url} did not answer in time") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise CommandError(f"{server.url!r} is not a URL: write it as http://host:port") from error
    except httpx.HTTPError as error:
        raise CommandError(f"the connection to {server.url} broke: {error}") from error
