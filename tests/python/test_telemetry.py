"""What an OpenTelemetry receiver understands of a server: decoded with the project's own protobuf, not by eye."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from commands import Asked, Served, Upstream, reply, run

pytest.importorskip("opentelemetry.proto", reason="opentelemetry-proto is not installed")

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CANARY = "canary-9f3b1c77d2"
SECRET = "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC3"
STAGES = ["admit", "validate", "permit", "approve", "execute", "redact"]
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "w", "version": "1"},
    "paths": {
        "/widgets/{id}": {
            "get": {
                "operationId": "widget_get",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": {"description": "ok"}},
            }
        }
    },
}


def receive(handler: BaseHTTPRequestHandler) -> None:
    """Answer as a receiver does: with an empty message of the right kind."""
    answers: dict[str, Any] = {
        "/v1/traces": ExportTraceServiceResponse(),
        "/v1/metrics": ExportMetricsServiceResponse(),
    }
    answer = answers.get(handler.path)
    if answer is None:
        reply(handler, 404, "")
    else:
        reply(handler, 200, answer.SerializeToString(), "application/x-protobuf")


def attributes(found: Iterable[Any]) -> dict[str, Any]:
    """Return attributes as a table; each name may be there once."""
    table: dict[str, Any] = {}
    for one in found:
        assert one.key not in table, one.key
        table[one.key] = getattr(one.value, one.value.WhichOneof("value"))
    return table


class Received:
    """What a receiver got."""

    def __init__(self, seen: list[Asked]) -> None:
        assert {asked.headers["content-type"] for asked in seen} == {"application/x-protobuf"}
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.resources: list[dict[str, Any]] = []
        self.raw = b"".join(asked.body for asked in seen)
        for asked in seen:
            if asked.path == "/v1/traces":
                traces = ExportTraceServiceRequest.FromString(asked.body)
                for group in traces.resource_spans:
                    self.resources.append(attributes(group.resource.attributes))
                    self.spans += [span for scope in group.scope_spans for span in scope.spans]
            else:
                assert asked.path == "/v1/metrics", asked.path
                metrics = ExportMetricsServiceRequest.FromString(asked.body)
                for measured in metrics.resource_metrics:
                    self.resources.append(attributes(measured.resource.attributes))
                    # the last one sent is the newest
                    named = {one.name: one for scope in measured.scope_metrics for one in scope.metrics}
                    self.metrics.update(named)

    def requests(self, name: str) -> list[Any]:
        """Return the spans of requests of that name."""
        return [span for span in self.spans if span.name == name]

    def within(self, parent: Any) -> list[Any]:
        """Return the spans right within another."""
        found = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return sorted(found, key=lambda span: int(span.start_time_unix_nano))


@pytest.fixture
def received(tmp_path: Path) -> tuple[Received, list[Asked]]:
    """Return what a receiver got of a good call, a wrong one, one too many, and what the upstream was sent."""
    document = tmp_path / "w.json"
    document.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    body = json.dumps({"name": "w", "note": SECRET})
    with Upstream(lambda handler: reply(handler, 200, body)) as upstream, Upstream(receive) as receiver:
        config = tmp_path / "bartizan.toml"
        config.write_text(
            f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}", "127.0.0.1:{receiver.port}"]\n'
            "[limits]\nread = { per_minute = 1, burst = 4 }\n"
            f'[[openapi]]\nfile = "w.json"\nbase_url = "{upstream.url}"\n'
            f'[telemetry]\notlp_endpoint = "{receiver.url}"\nseconds = 1\n',
            encoding="utf-8",
        )
        with Served("--config", config) as served:
            meta = {"traceparent": f"00-{TRACE}-{PARENT}-01", "baggage": f"who={CANARY}", "tracestate": f"x={CANARY}"}

            def call(arguments: dict[str, Any], **own: Any) -> Any:
                return served.ask("tools/call", {"name": "widget_get", "arguments": arguments, **own})

            good = call({"id": CANARY}, _meta=meta)
            assert SECRET not in good.text
            assert "[redacted:" in good.text
            call({"nope": CANARY})
            refusals = [call({"id": CANARY}) for _ in range(6)]
            assert any("RateLimited" in json.dumps(one.json) or one.status == 429 for one in refusals)
            code, _ = served.stop()
            assert code == 0
        found = Received(list(receiver.seen))
        return found, list(upstream.seen)


def test_a_request_is_a_span_under_the_conventions_with_its_stages_and_its_upstream(
    received: tuple[Received, list[Asked]],
) -> None:
    found, asked = received
    assert {one["service.name"] for one in found.resources} == {"bartizan"}
    named = found.requests("tools/call widget_get")
    mine = [span for span in named if span.trace_id.hex() == TRACE]
    assert len(mine) == 1
    span = mine[0]
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.parent_span_id.hex() == PARENT
    assert span.trace_state == ""
    facts = attributes(span.attributes)
    assert facts == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28",
        "network.transport": "tcp",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "widget_get",
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    children = found.within(span)
    stages = [one for one in children if one.kind == Span.SPAN_KIND_INTERNAL]
    assert [one.name for one in stages] == STAGES
    for one in children:
        assert one.trace_id == span.trace_id
        assert span.start_time_unix_nano <= one.start_time_unix_nano
        assert one.end_time_unix_nano <= span.end_time_unix_nano
    clients = [one for one in children if one.kind == Span.SPAN_KIND_CLIENT]
    assert [one.name for one in clients] == ["GET"]
    facts = attributes(clients[0].attributes)
    assert facts["http.request.method"] == "GET"
    assert facts["http.response.status_code"] == 200
    assert facts["server.address"] == "127.0.0.1"
    first = asked[0].headers
    assert first["traceparent"] == f"00-{TRACE}-{clients[0].span_id.hex()}-01"
    assert "baggage" not in first
    assert "tracestate" not in first


def test_a_refused_request_is_a_failed_span_that_names_the_kind_and_nothing_else(
    received: tuple[Received, list[Asked]],
) -> None:
    found, _ = received
    named = found.requests("tools/call widget_get")
    failed = [span for span in named if span.status.code == Status.STATUS_CODE_ERROR]
    assert failed
    kinds = {attributes(span.attributes)["error.type"] for span in failed}
    assert {"BadArguments", "RateLimited"} <= kinds
    assert {span.status.message for span in failed} == {""}
    others = [span for span in named if span.trace_id.hex() != TRACE]
    assert all(span.parent_span_id == b"" for span in others), "who names no parent has none"
    assert len({span.trace_id for span in others}) == len(others)


def test_metrics_have_the_conventions_names_units_and_no_callers(received: tuple[Received, list[Asked]]) -> None:
    found, asked = received
    for name, wanted in (
        ("mcp.server.operation.duration", {"mcp.method.name", "gen_ai.tool.name", "gen_ai.operation.name"}),
        ("http.client.request.duration", {"http.request.method", "server.address", "http.response.status_code"}),
    ):
        metric = found.metrics[name]
        assert metric.unit == "s"
        assert metric.WhichOneof("data") == "histogram"
        for point in metric.histogram.data_points:
            assert wanted <= set(attributes(point.attributes))
    upstream = found.metrics["http.client.request.duration"].histogram.data_points
    assert sum(point.count for point in upstream) == len(asked)

    def rows(name: str, kind: str) -> list[tuple[dict[str, Any], int]]:
        metric = found.metrics[name]
        assert metric.WhichOneof("data") == kind
        data = getattr(metric, kind)
        if kind == "sum":
            assert data.is_monotonic
        return [(attributes(point.attributes), point.as_int) for point in data.data_points]

    redacted = rows("bartizan.redactions", "sum")
    assert sum(count for _, count in redacted) >= len(asked)
    assert all(set(labels) == {"kind"} for labels, _ in redacted)
    limits = {labels["limit"]: count for labels, count in rows("bartizan.limit.refusals", "sum")}
    assert limits["read"] >= 1
    circuits = rows("bartizan.upstream.circuit", "gauge")
    assert {count for _, count in circuits} == {0}
    assert {tuple(sorted(labels)) for labels, _ in circuits} == {("host", "upstream")}


def test_no_argument_result_caller_or_secret_is_anywhere_in_it(received: tuple[Received, list[Asked]]) -> None:
    found, asked = received
    assert all(CANARY in one.path for one in asked), "it was there to be told"
    for word in (CANARY, SECRET, "key:", "principal", "/widgets/"):
        assert word.encode() not in found.raw, word


def test_the_parent_is_what_the_header_names_unless_the_message_names_one(tmp_path: Path) -> None:
    document = tmp_path / "w.json"
    document.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    other, grandparent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with Upstream(lambda handler: reply(handler, 200, "{}")) as upstream, Upstream(receive) as receiver:
        config = tmp_path / "bartizan.toml"
        config.write_text(
            f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}", "127.0.0.1:{receiver.port}"]\n'
            f'[[openapi]]\nfile = "w.json"\nbase_url = "{upstream.url}"\n'
            f'[telemetry]\notlp_endpoint = "{receiver.url}"\nseconds = 1\n',
            encoding="utf-8",
        )
        with Served("--config", config) as served:
            meta = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            for own in ({}, {"_meta": meta}):
                params = {"name": "widget_get", "arguments": {"id": "1"}, **own}
                answer = served.ask("tools/call", params, traceparent=f"00-{other}-{grandparent}-01")
                assert answer.result["isError"] is False, answer.result
            assert served.stop()[0] == 0
        found = Received(list(receiver.seen))
        spans = found.requests("tools/call widget_get")
        parents = {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans}
        assert parents == {(other, grandparent), (TRACE, PARENT)}
        assert len(spans) == 2
        told = [asked.headers["traceparent"].split("-")[1] for asked in upstream.seen]
        assert told == [other, TRACE]


def test_a_log_record_is_what_the_protocol_says(tmp_path: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, "{}")) as receiver:
        config = tmp_path / "bartizan.toml"
        config.write_text(
            f'[egress]\nallow_private = ["127.0.0.1:{receiver.port}"]\n'
            f'[alerts]\nto = [{{ kind = "otlp", url = "{receiver.url}" }}]\n',
            encoding="utf-8",
        )
        done = run("alerts", "test", "--config", config)
        assert done.code == 0, done.all
        asked = receiver.seen[0]
    assert (asked.path, asked.headers["content-type"]) == ("/v1/logs", "application/json")
    # refuses a field that there is not, and a value of another type
    logs = json_format.Parse(asked.body, ExportLogsServiceRequest())
    assert len(logs.resource_logs) == 1
    group = logs.resource_logs[0]
    assert attributes(group.resource.attributes) == {"service.name": "bartizan"}
    records = [record for scope in group.scope_logs for record in scope.log_records]
    assert len(records) == 1
    record = records[0]
    assert abs(record.time_unix_nano / 1e9 - time.time()) < 300
    assert record.severity_number in SeverityNumber.values()
    assert SeverityNumber.Name(record.severity_number).removeprefix("SEVERITY_NUMBER_") == record.severity_text
    assert attributes(record.attributes)["event.name"].startswith("bartizan.")
    assert isinstance(json.loads(record.body.string_value), dict)
