"""What a client told OpenTelemetry, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from rivet_anyio import Client, Retry
from rivet_anyio.otel import OpenTelemetry


class Recording:
    """Providers of its own, and an observer that uses them.

    Attributes:
        observer: For `Client(observer=...)`.
        tracer: Makes the spans of the program around the client.
    """

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("program")
        self.observer = OpenTelemetry(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options
        )

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """The library's spans in the order of their ends, once for every end."""
        return [
            span
            for span in self._exporter.get_finished_spans()
            if scope_of(span) == "rivet_anyio" and name in (None, span.name)
        ]

    def span(self, name: str | None = None) -> ReadableSpan:
        """The only one of the library's spans."""
        (span,) = self.spans(name)
        return span

    def values(self, metric: str) -> list[tuple[dict[str, Any], float]]:
        """The attributes and value of each of a metric's series; of a histogram its count."""
        found: list[tuple[dict[str, Any], float]] = []
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else []:
            for scope in resource.scope_metrics:
                for each in scope.metrics:
                    if each.name != metric:
                        continue
                    for point in each.data.data_points:
                        assert not hasattr(point, "scale"), "no exponential histograms here"
                        histogram = isinstance(point, HistogramDataPoint)
                        value = point.count if histogram else point.value  # type: ignore[union-attr]
                        found.append((dict(point.attributes or {}), value))
        return found

    def value(self, metric: str) -> float:
        """The sum over a metric's series."""
        return sum(value for _, value in self.values(metric))


def scope_of(span: ReadableSpan) -> str:
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes without those of the server's place."""
    place = ("server.address", "server.port")
    return {name: value for name, value in (span.attributes or {}).items() if name not in place}


def parent_of(span: ReadableSpan) -> int | None:
    """The id of a span's parent."""
    return span.parent.span_id if span.parent is not None else None


def id_of(span: Any) -> int:
    """A span's own id."""
    number: int = span.get_span_context().span_id
    return number


def status(span: ReadableSpan) -> tuple[str, str | None]:
    """Whether it failed, and the text that says so."""
    return span.status.status_code.name, span.status.description


FAILED = (StatusCode.ERROR.name, None)
UNSET = (StatusCode.UNSET.name, None)


def in_header(headers: Mapping[str, str]) -> tuple[int, int]:
    """Trace id and span id of a ``traceparent``."""
    version, trace_id, span_id, _ = headers["traceparent"].split("-")
    assert version == "00"
    return int(trace_id, 16), int(span_id, 16)


def parsed_head(head: str) -> dict[str, str]:
    """The headers of a raw request; each may be there once."""
    lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
    names = [name.lower() for name, _, _ in lines]
    assert len(set(names)) == len(names), "a header came twice"
    return {name.lower(): value.strip() for name, _, value in lines}


async def at_once(seconds: float) -> None:
    """Sleep for no time."""
    await anyio.lowlevel.checkpoint()


def client(url: str, recording: Recording, **options: Any) -> Client:
    """A client that is recorded, of a peer that speaks JSON, and tries again at once."""
    options = {"retry": Retry(sleep=at_once), **options}
    return Client(
        url, metadata_lookup=False, encoding="json", observer=recording.observer, **options
    )
