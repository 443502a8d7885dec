"""Every number that the gateway exports, and the one port that shows them.

All metrics are declared here, with their unit in the name; `metering` writes those of a turn. Labels are
bounded: models, stages and outcomes, never callers. The port answers the operator too, which asks for routes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app, start_http_server
from tercet_wire.names import ROUTES_PATH
from tercet_wire.status import Routes

_PREFIX: Final = "tercet_gateway"
_FIRST_S: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
_STAGE_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_FACTORS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 5)
_UNDERRUN_S: Final = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_OVERHEAD_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_BUFFERED_S: Final = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)

_Made = TypeVar("_Made", Histogram, Counter)


class _Family:
    """Declares metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.of_models: list[Histogram | Counter] = []

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ("model",)
    ) -> Histogram:
        made = Histogram(f"{_PREFIX}_{name}", text, labels, registry=self._registry, buckets=buckets)
        return self._note(made, labels)

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ("model",)) -> Counter:
        return self._note(Counter(f"{_PREFIX}_{name}", text, labels, registry=self._registry), labels)

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self._registry)

    def _note(self, made: _Made, labels: tuple[str, ...]) -> _Made:
        if "model" in labels:
            self.of_models.append(made)
        return made


class SpeechMetrics:
    """What a listener feels."""

    def __init__(self, family: _Family) -> None:
        self.time_to_first_audio = family.histogram(
            "time_to_first_audio_seconds", "Request received to first audio handed to the socket.", _FIRST_S
        )
        self.real_time_factor = family.histogram(
            "audio_real_time_factor", "(Last audio sent - first) / seconds of audio.", _FACTORS
        )
        self.real_time_factor_whole = family.histogram(
            "audio_real_time_factor_end_to_end", "(Last audio sent - request) / seconds of audio.", _FACTORS
        )
        self.underrun = family.histogram(
            "audio_underrun_seconds", "Silence that a player hears which starts at once.", _UNDERRUN_S
        )
        self.gaps = family.counter("audio_gap_count", "Stalls of such a player.")
        self.continuity_ok = family.counter(
            "audio_continuity_ok", "Spoken turns with less underrun.", ("model", "threshold_ms")
        )
        self.output = family.counter("audio_output_seconds", "Audio handed to clients.")
        self.input = family.counter("audio_input_seconds", "Audio that clients sent.")
        self.buffered = family.histogram(
            "client_buffered_audio_seconds", "Most audio that waited for a client, a turn.", _BUFFERED_S
        )


class ClusterMetrics:
    """What a gateway that watches a cluster knows of it."""

    def __init__(self, family: _Family) -> None:
        self.deployments = family.gauge("deployments", "OmniDeployments that are known.")
        self.routable = family.gauge("routable_deployments", "Those of them that can begin turns.")
        self.watch_age = family.gauge(
            "watch_age_seconds", "Since the API server was last heard of, by kind of object.", ("kind",)
        )


class Metrics:
    """In a registry of its own, so that two gateways can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        family = _Family(self.registry)
        self.speech = SpeechMetrics(family)
        self.time_to_first_text = family.histogram(
            "time_to_first_text_seconds", "Request received to first text handed to the socket.", _FIRST_S
        )
        self.stage_latency = family.histogram(
            "stage_latency_seconds",
            "A turn in a stage: until connected, its first message (of that inside the stage), its last.",
            _STAGE_S,
            ("model", "stage", "phase"),
        )
        self.replays = family.counter(
            "replays",
            "Stages of running turns whose replica was lost, by what became of them.",
            ("model", "stage", "outcome"),
        )
        self.overhead = family.histogram(
            "overhead_seconds", "Request received to thinker asked, media included.", _OVERHEAD_S
        )
        self.cancelled_requests = family.counter(
            "cancelled_requests", "Turns whose client left.", ("model", "phase")
        )
        self.cancel_propagation = family.histogram(
            "cancel_propagation_seconds", "Client seen to leave until all stage calls are ended.", _OVERHEAD_S
        )
        self.slow_client_aborts = family.counter("slow_client_aborts", "Clients cut off as too slow.")
        self.tokens = family.counter("tokens", "Tokens of finished turns.", ("model", "kind"))
        self.requests = family.counter("requests", "Answered requests, by HTTP status.", ("status",))
        self.in_flight = family.gauge("in_flight_requests", "Turns in this process.")
        self.held_bytes = family.gauge("held_body_bytes", "Bodies whose media have not all been read.")
        self.replay_bytes = family.gauge("replay_bytes", "Kept of what running turns' stages were given.")
        self.cluster = ClusterMetrics(family)
        self._of_models = tuple(family.of_models)
        self._render_routes: Callable[[], bytes] = Routes().model_dump_json().encode

    def forget(self, model: str) -> None:
        """Of a model that is gone nothing is shown; else who comes and goes would fill the memory."""
        for metric in self._of_models:
            metric.remove_by_labels({"model": model})

    def show_routes(self, render: Callable[[], bytes]) -> None:
        """`render` is called in the port's own threads. Without it there are no routes."""
        self._render_routes = render

    @contextmanager
    def serve(self, host: str, port: int) -> Iterator[int]:
        """Show metrics and routes on their own port, from threads of its own; gives the port."""
        server, thread = start_http_server(port, addr=host, registry=self.registry)
        server.set_app(self._beside_routes(make_wsgi_app(self.registry)))
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _beside_routes(self, metrics: WSGIApplication) -> WSGIApplication:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] != ROUTES_PATH:
                return metrics(environ, start_response)
            body = self._render_routes()
            start_response(
                "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            )
            return [body]

        return app
