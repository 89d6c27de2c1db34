"""OpenTelemetry: spans and metrics of a client, and its trace context sent along.

Needs ``rivet-anyio[otel]``. Nothing else imports this module, and without it nothing of
OpenTelemetry is imported. docs/guide/telemetry.md lists the spans, metrics and attributes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

try:
    from opentelemetry import context as context_api
    from opentelemetry import metrics, trace
except ImportError as exc:
    raise ImportError("rivet_anyio.otel needs opentelemetry-api: rivet-anyio[otel]") from exc
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.propagators.textmap import Setter, TextMapPropagator
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._checks import check_flag
from ._errors import ActorError
from ._observe import Call, ConnectionObserver, PoolFigures, Subject, place_of
from ._version import __version__

__all__ = ["OpenTelemetry"]

_SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
_SYSTEM = "rivet"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

_Attributes: TypeAlias = dict[str, str | int | bool]


class _HeaderSetter(Setter[dict[str, str]]):
    def set(self, carrier: dict[str, str], key: str, value: str) -> None:
        carrier[key] = value


_SETTER = _HeaderSetter()


class OpenTelemetry:
    """Reports a client to OpenTelemetry: ``Client(observer=OpenTelemetry())``.

    One instance may serve any number of clients.

    Args:
        tracer_provider: Where spans go; None: the global provider.
        meter_provider: Where metrics go; None: the global provider.
        propagator: What writes the headers that are sent to actors; None: W3C trace context
            (``traceparent``, ``tracestate``) and nothing else, whatever the global one is.
        actor_keys: Whether spans name the actor's key, as ``rivet.actor.key``.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        actor_keys: bool = False,
    ) -> None:
        check_flag("actor_keys", actor_keys)
        self._tracer = trace.get_tracer(
            "rivet_anyio", __version__, tracer_provider, schema_url=_SCHEMA
        )
        self._instruments = _Instruments(
            metrics.get_meter("rivet_anyio", __version__, meter_provider, schema_url=_SCHEMA)
        )
        self._pools: dict[object, tuple[_Attributes, Callable[[], PoolFigures]]] = {}
        self._instruments.observe_pools(self._pools)
        self._propagator = propagator or TraceContextTextMapPropagator()
        self._actor_keys = actor_keys

    @contextmanager
    def call(self, call: Call) -> Generator[Mapping[str, str]]:
        """What the client calls around an action or a queue message, in the caller's task."""
        instruments = self._instruments
        subject = call.subject
        target = f"{subject.actor}/{call.name}"
        common: _Attributes
        if call.operation == "action":
            name, duration = target, instruments.call_duration
            common = {"rpc.system.name": _SYSTEM, "rpc.method": target}
        else:
            name, duration = f"{call.operation} {target}", instruments.send_duration
            common = {
                "messaging.system": _SYSTEM,
                "messaging.operation.name": call.operation,
                "messaging.operation.type": "send",
                "messaging.destination.name": target,
            }
        common.update(_server(subject))
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={**common, "network.protocol.name": call.protocol, **self._key(subject)},
        )
        if call.operation == "action":
            instruments.active_calls.add(1, common)
        context = trace.set_span_in_context(span)
        began = time.perf_counter()
        outcome: _Attributes = {}
        try:
            with _current(context):
                yield self._headers(context)
        except BaseException as exc:
            outcome = _outcome(exc)
            if isinstance(exc, ActorError) and call.operation == "action":
                outcome["rpc.response.status_code"] = f"{exc.group}.{exc.code}"
            _set_ray(span, exc)
            raise
        finally:
            if call.operation == "action":
                instruments.active_calls.add(-1, common)
            # The context lets exemplars lead from the metric to this span.
            duration.record(time.perf_counter() - began, {**common, **outcome}, context)
            _end(span, outcome)

    def connection(self, subject: Subject) -> ConnectionObserver:
        """What the client calls when a connection is entered."""
        return _Connection(self, subject)

    def context(self) -> Mapping[str, str]:
        """The headers that carry the current span's context."""
        return self._headers(None)

    def pool(self, url: str, count: Callable[[], PoolFigures]) -> Callable[[], None]:
        """What the client calls when its block is entered."""
        key = object()
        address, port = place_of(url)
        self._pools[key] = {"server.address": address, "server.port": port}, count

        def forget() -> None:
            self._pools.pop(key, None)

        return forget

    def _headers(self, context: Context | None) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        self._propagator.inject(headers, context, _SETTER)
        return headers

    def _key(self, subject: Subject) -> Mapping[str, tuple[str, ...]]:
        if not self._actor_keys or subject.key is None:
            return {}
        return {"rivet.actor.key": subject.key}


class _Instruments:
    """The metrics; their names are in docs/guide/telemetry.md."""

    def __init__(self, meter: Meter) -> None:
        self.call_duration = meter.create_histogram(
            "rpc.client.call.duration",
            "s",
            "How long actions took.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.send_duration = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "How long it took to send messages to queues.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.attempt_duration = meter.create_histogram(
            "rivet.client.connection.attempt.duration",
            "s",
            "How long attempts to connect took.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.active_calls = meter.create_up_down_counter(
            "rivet.client.active_calls", "{call}", "Actions that were called and have not ended."
        )
        self.reconnects = meter.create_counter(
            "rivet.client.connection.reconnects",
            "{reconnect}",
            "Connections that were lost and came back.",
        )
        self.events = meter.create_counter(
            "rivet.client.events.received", "{event}", "Events received that a stream wanted."
        )
        self.dropped = meter.create_counter(
            "rivet.client.events.dropped", "{event}", "Events dropped by full buffers."
        )
        self.gaps = meter.create_counter(
            "rivet.client.events.gaps", "{gap}", "Places in streams where events may be missing."
        )
        self._meter = meter

    def observe_pools(
        self, pools: Mapping[object, tuple[_Attributes, Callable[[], PoolFigures]]]
    ) -> None:
        """Report the figures of these pools, whichever they are by then, when metrics are read."""

        def observations(_: CallbackOptions) -> list[Observation]:
            sums: dict[tuple[tuple[str, Any], ...], int] = {}
            for attributes, count in tuple(pools.values()):
                for state, number in count()._asdict().items():
                    key = (*attributes.items(), ("rivet.socket.state", state))
                    sums[key] = sums.get(key, 0) + number
            return [Observation(number, dict(key)) for key, number in sums.items()]

        self._meter.create_observable_up_down_counter(
            "rivet.client.sockets",
            [observations],
            "{socket}",
            "Sockets that are open, idle among them, and requests that wait for one or dial.",
        )


class _Connection:
    """Observes one connection.

    Attempts that the user's task waits for belong to its span. Later ones are traces of their own,
    with a link to it: it may have ended weeks ago.
    """

    def __init__(self, telemetry: OpenTelemetry, subject: Subject) -> None:
        self._telemetry = telemetry
        self._instruments = telemetry._instruments
        self._subject = subject
        self._actor: _Attributes = {"rivet.actor.name": subject.actor, **_server(subject)}
        self._of_events: dict[str, _Attributes] = {}
        self._context = context_api.get_current()
        self._links: list[Link] = []
        self._opened = False
        self._attempts = 0

    def background(self) -> None:
        # The task ends with its context: there is nothing to go back to.
        context_api.attach(Context())

    def attempt(self) -> _Attempt:
        self._attempts += 1
        telemetry = self._telemetry
        span = telemetry._tracer.start_span(
            f"connect {self._subject.actor}",
            self._context,
            SpanKind.CLIENT,
            attributes={
                **self._actor,
                "network.protocol.name": "websocket",
                "rivet.connection.attempt": self._attempts,
                "rivet.connection.reconnect": self._opened,
                **telemetry._key(self._subject),
            },
            links=self._links,
        )
        return _Attempt(telemetry, span, self._context, self._actor)

    def connected(self) -> None:
        self._attempts = 0
        if self._opened:
            self._instruments.reconnects.add(1, self._actor)
            return
        self._opened = True
        begun_in = trace.get_current_span(self._context).get_span_context()
        self._links = [Link(begun_in)] if begun_in.is_valid else []
        self._context = Context()

    def event(self, name: str) -> None:
        self._instruments.events.add(1, self._of_event(name))

    def dropped(self, name: str) -> None:
        self._instruments.dropped.add(1, self._of_event(name))

    def gap(self, name: str) -> None:
        self._instruments.gaps.add(1, self._of_event(name))

    def _of_event(self, name: str) -> _Attributes:
        attributes = self._of_events.get(name)
        if attributes is None:
            attributes = self._of_events[name] = {**self._actor, "rivet.event.name": name}
        return attributes


class _Attempt:
    def __init__(
        self, telemetry: OpenTelemetry, span: Span, context: Context, actor: _Attributes
    ) -> None:
        self._telemetry = telemetry
        self._span = span
        self._context = trace.set_span_in_context(span, context)
        self._actor = actor
        self._began = time.perf_counter()
        self._ended = False

    @contextmanager
    def current(self) -> Generator[Mapping[str, str]]:
        with _current(self._context):
            yield self._telemetry._headers(self._context)

    def end(self, error: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = True
        outcome = {} if error is None else _outcome(error)
        seconds = time.perf_counter() - self._began
        histogram = self._telemetry._instruments.attempt_duration
        histogram.record(seconds, {**self._actor, **outcome}, self._context)
        if error is not None:
            _set_ray(self._span, error)
        _end(self._span, outcome)


@contextmanager
def _current(context: Context) -> Generator[None]:
    token = context_api.attach(context)
    try:
        yield
    finally:
        context_api.detach(token)


def _server(subject: Subject) -> _Attributes:
    return {"server.address": subject.address, "server.port": subject.port}


def _outcome(error: BaseException) -> _Attributes:
    """Attributes for how something ended that did not succeed.

    Messages stay out of them: an error's text may hold what the program keeps secret. A
    `BaseException` that is not an `Exception` is a cancellation or an interrupt.
    """
    if not isinstance(error, Exception):
        return {"rivet.cancelled": True}
    if isinstance(error, ActorError):
        return {"error.type": f"{error.group}.{error.code}"}
    return {"error.type": type(error).__name__}


def _set_ray(span: Span, error: BaseException) -> None:
    """The gateway's correlation id leads on to the server's own records."""
    if isinstance(error, ActorError) and error.ray_id is not None:
        span.set_attribute("rivet.ray_id", error.ray_id)


def _end(span: Span, outcome: _Attributes) -> None:
    span.set_attributes(outcome)
    if "error.type" in outcome:
        span.set_status(StatusCode.ERROR)
    span.end()
