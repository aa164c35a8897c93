"""Traces, sent over HTTP to a collector that runs beside the test."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from service.app import create_app
from service.settings import Settings
from service.tracing import Tracing, TracingError
from tests.scenes import standing_frame
from tests.service_fixtures import build_index, client_of, posted

QUERY = standing_frame(azimuth=0.45, category="shoe")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextlib.contextmanager
def collector():
    """Its address, and the requests that it got."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def attributes(item) -> dict[str, object]:
    return {a.key: a.value.string_value or a.value.int_value for a in item.attributes}


def test_a_request_is_a_trace_with_a_span_for_each_stage(tmp_path, monkeypatch, caplog):
    build_index(tmp_path / "index")
    with collector() as (url, received), caplog.at_level(logging.INFO):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with client_of(tmp_path / "index") as client:
            client.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
            answer = posted(client, QUERY)
            del client.headers["traceparent"]
            client.get("/neighbors", params={"frame": "v1/cup/0"})
    assert {path for path, _ in received} == {"/v1/traces"}
    resources = [resource for _, request in received for resource in request.resource_spans]
    assert {attributes(resource.resource)["service.name"] for resource in resources} == {"nearpose"}
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    (server,) = [span for span in spans if span.name == "POST /pose"]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
    assert "/pose" in attributes(server).values()
    stages = [span for span in spans if span.parent_span_id == server.span_id]
    assert [span.name for span in stages] == ["decode", "embed", "search", "fit"]
    for span, before in zip(stages[1:], stages, strict=False):
        assert span.start_time_unix_nano == before.end_time_unix_nano
    took = {span.name: (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6 for span in stages}
    timing = answer.json()["timing_ms"]
    assert took == pytest.approx({name: timing[name] for name in took}, abs=1e-3)
    assert server.start_time_unix_nano <= stages[0].start_time_unix_nano
    (other,) = [span for span in spans if span.name == "GET /neighbors"]
    assert [span.name for span in spans if span.parent_span_id == other.span_id] == ["search"]
    assert not [span for span in spans if "readyz" in span.name]
    logged = {record.path: record.trace_id for record in caplog.records if hasattr(record, "trace_id")}
    assert logged == {"/pose": TRACE, "/neighbors": other.trace_id.hex()}


def test_without_the_extra_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(
        TracingError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set, but .* pip install 'nearpose\[otel\]'"
    ):
        assert type(create_app(Settings(index=tmp_path)).state.tracing) is Tracing


def test_nothing_of_it_is_imported_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert type(create_app(Settings(index=tmp_path)).state.tracing) is Tracing
