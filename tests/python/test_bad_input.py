"""Bad input, through the real command and the real endpoint.

Each time: one clear sentence, the right code, the server still serving, nothing leaked, and an intent and an outcome
line where a call was attempted.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import struct
import textwrap
import threading
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest
from commands import (
    HANDSHAKE,
    NEWEST,
    PATIENCE,
    Answer,
    Done,
    Piped,
    Served,
    Upstream,
    audit_file,
    audited,
    envelope,
    outcomes,
    program,
    reply,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

SECRET = "hunter2-is-no-good-secret"  # noqa: S105 - what must not come out
ARGUMENT = "what-somebody-typed"
TOKEN = "tok_5dKq81LmZs0TqX2w"  # noqa: S105 - what must not come out

TOOLS = f"""
import asyncio, os, subprocess, sys, threading, time
from bartizan import Server

server = Server("bad")
release = threading.Event()

@server.tool(effect="read")
def add(a: int, b: int) -> int:
    "Add."
    return a + b

@server.tool(effect="read")
def raises(text: str) -> str:
    "Raise."
    raise ValueError("{SECRET} " + text)

@server.tool(effect="read", timeout=0.3)
def hangs(text: str) -> str:
    "Hang, deaf."
    release.wait(60)
    return text

@server.tool(effect="read", timeout=0.3)
async def sleeps(text: str) -> str:
    "Hang, asleep."
    await asyncio.sleep(60)
    return text

@server.tool(effect="read")
async def waits(text: str) -> str:
    "Wait until told."
    print("waiting", file=sys.stderr, flush=True)
    await asyncio.sleep(60)
    return text

@server.tool(effect="read", output_schema=False)
def odd(text: str) -> object:
    "Return what no JSON can say."
    return {{text: object()}}

@server.tool(effect="read")
def prints(text: str) -> str:
    "Write where the wire is."
    print("stray", text)
    os.write(1, b"stray bytes\\n")
    sys.__stdout__.write("stray too\\n")
    sys.__stdout__.flush()
    subprocess.run(["echo", "stray child"], check=True)
    return "printed"

@server.tool(effect="read")
def unlocks(password: str, door: str) -> str:
    "Fail, and say too much."
    raise ValueError(f"no key {{password!r}} ({{password}}) fits the {{door}} door")

@server.tool(effect="read")
def exits(text: str) -> str:
    "Leave."
    sys.exit(3)

@server.tool(effect="read")
async def exits_async(text: str) -> str:
    "Leave."
    raise SystemExit(3)
"""


def sentence(text: str) -> None:
    """Assert that this reads as one short paragraph for people, with nothing of ours inside out."""
    assert text.strip(), "nothing was said"
    assert "Traceback" not in text, text
    assert "panicked" not in text, text
    assert "\n" not in text.strip(), text
    assert len(text) < 600, text


def refused(answer: Answer, status: int, code: int) -> str:
    """Assert a JSON-RPC refusal; return its sentence."""
    assert answer.status == status, answer
    error = answer.error
    assert error["code"] == code, error
    sentence(error["message"])
    return str(error["message"])


def failed(answer: Answer, kind: str) -> str:
    """Assert a tool result that is an error of this kind; return its sentence."""
    assert answer.status == 200, answer
    result = answer.result
    assert result["isError"] is True, result
    assert kind in json.dumps(result), result
    # The first line is ours; what an upstream said may follow it, redacted.
    sentence(answer.text.splitlines()[0])
    assert "Traceback" not in answer.text
    return answer.text


def wrong(done: Done, *words: str) -> None:
    """Assert that a command said one sentence with these words and code 2."""
    assert done.code == 2, done
    assert done.out == "", done
    sentence(done.err)
    for word in words:
        assert word in done.err, done.err


def whole(path: Path | None = None) -> None:
    """Assert that the audit is good."""
    done = run("audit", "verify", "--json", "--file", path or audit_file())
    assert done.code == 0, done


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "bad_tools.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
def served(tools: Path) -> Iterator[Served]:
    """Serve, and see that it still serves and leaked nothing when the test is done."""
    with Served("--tools", tools) as running:
        yield running
        running.serves()
        code, seconds = running.stop()
        assert (code, seconds < 5) == (0, True)
        said = running.said()
    assert "panicked" not in said, said
    assert SECRET not in audit_file().read_text()
    whole()


@pytest.fixture
def piped(tools: Path) -> Iterator[Piped]:
    """Serve over pipes; what comes out may only be the protocol."""
    with Piped("--tools", tools) as running:
        yield running
        assert running.ask("server/discover")["result"]
        assert running.close() == 0
        for line in running.out.all().splitlines():
            assert json.loads(line)["jsonrpc"] == "2.0"
        assert "panicked" not in running.err.all()
    whole()


# What never becomes a request


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"jsonrpc": "2.0", "id": 1, "method": "server/discover"',
        b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "server/discover"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}',
        b"\xef\xbb\xbf{}",
        b"NaN",
    ],
)
def test_what_is_not_json_is_a_parse_error(served: Served, body: bytes) -> None:
    text = refused(served.post(body), 400, -32700)
    assert "nonsense" not in text


def test_what_is_not_json_is_a_parse_error_on_a_pipe_too(piped: Piped) -> None:
    piped.send("{" + SECRET)
    error = piped.answer(None)["error"]
    assert error["code"] == -32700
    sentence(error["message"])
    assert SECRET not in piped.out.text()


@pytest.mark.parametrize(
    "body",
    [b"1", b'"x"', b"null", b"[]", b"{}", b'{"jsonrpc": "1.0", "id": 1, "method": "x"}', b'{"id": [], "method": "x"}'],
)
def test_json_that_is_no_request_is_refused(served: Served, body: bytes) -> None:
    refused(served.post(body), 400, -32600)


# proves: json-bounded
def test_an_array_a_hundred_thousand_deep_is_refused(served: Served) -> None:
    refused(served.post(b"[" * 100_000 + b"]" * 100_000), 400, -32700)


def test_an_array_a_hundred_thousand_deep_is_refused_on_a_pipe_too(piped: Piped) -> None:
    piped.send("[" * 100_000 + "]" * 100_000)
    assert piped.answer(None)["error"]["code"] == -32700


# proves: http-bounded
def test_a_gigabyte_is_refused_before_it_is_read(served: Served) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
    with socket.create_connection((served.host, served.port), PATIENCE) as peer:
        peer.sendall(f"POST /mcp HTTP/1.1\r\nHost: {served.host}\r\n{head}Content-Length: 1073741824\r\n\r\n".encode())
        answer = peer.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 "), answer


# proves: stdio-bounded
def test_a_line_that_is_too_long_is_refused_and_the_next_one_answered(piped: Piped) -> None:
    piped.send('{"jsonrpc": "2.0", "id": 1, "method": "' + "x" * (5 << 20) + '"}')
    error = piped.answer(None)["error"]
    assert error["code"] in {-32700, -32600}
    sentence(error["message"])


def test_a_body_that_drips_is_given_up(tools: Path, tmp_path: Path) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text("[http]\nheader_timeout = 0.3\nbody_timeout = 0.3\n")
    with Served("--tools", tools, "--config", config) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
        for text in (
            f"POST /mcp HTTP/1.1\r\nHost: {served.host}\r\n{head}Content-Length: 100\r\n\r\n{{",
            "POST /mcp HTTP/1.1\r\nHost:",
        ):
            with socket.create_connection((served.host, served.port), PATIENCE) as peer:
                peer.sendall(text.encode())
                answer = b"".join(iter(lambda: peer.recv(65536), b""))
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408 "), answer
        served.serves()


def test_a_revision_that_nobody_speaks_is_refused_with_those_that_are_spoken(served: Served) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": envelope(revision="1999-01-01")}
    headers = {**served.headers("tools/list"), "MCP-Protocol-Version": "1999-01-01"}
    answer = served.post(json.dumps(body), headers)
    refused(answer, 400, -32022)
    assert {NEWEST, HANDSHAKE} <= set(answer.error["data"]["supported"])


@pytest.mark.parametrize(
    "lie",
    [
        {"Mcp-Method": "tools/list"},
        {"Mcp-Method": None},
        {"Mcp-Name": "raises"},
        {"Mcp-Name": None},
        {"MCP-Protocol-Version": HANDSHAKE},
        {"MCP-Protocol-Version": None},
    ],
    ids=str,
)
def test_a_header_that_is_missing_or_lies_refuses_the_request(served: Served, lie: dict[str, str | None]) -> None:
    headers = {**served.headers("tools/call", "add"), **lie}
    body = served.message("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    answer = served.post(body, {name: value for name, value in headers.items() if value is not None})
    assert answer.status == 400, answer
    sentence(answer.error["message"])
    assert answer.error["code"] == -32020


def test_without_a_key_or_with_a_wrong_one_nobody_is_let_in(served: Served) -> None:
    for given in ({}, {"Authorization": f"Bearer {SECRET}"}, {"Authorization": "Basic eDp5"}):
        headers = {name: value for name, value in served.headers("tools/list").items() if name != "Authorization"}
        answer = served.post(served.message("tools/list"), {**headers, **given})
        assert answer.status == 401
        assert "www-authenticate" in answer.headers
        assert SECRET not in answer.body.decode()


def test_another_method_another_host_another_origin_are_refused(served: Served) -> None:
    body = served.message("tools/list")
    assert served.post(body, served.headers("tools/list", Host="evil.example")).status in {400, 403, 421}
    assert served.post(body, served.headers("tools/list", Origin="https://evil.example")).status == 403
    assert served.ask("no/such").status == 404


# Calls


def test_an_unknown_tool_is_named_as_such_and_not_repeated(served: Served) -> None:
    text = refused(served.call(SECRET), 400, -32602)
    assert SECRET not in text
    assert outcomes("unknown") == ["NoSuchTool"]
    assert SECRET not in audit_file().read_text()


@pytest.mark.parametrize(
    "arguments",
    [{"a": ARGUMENT, "b": 1}, {"a": 1, "b": 2, ARGUMENT: 3}, {"a": 1}, {"a": 1.5, "b": 1}, {"a": None, "b": 1}],
    ids=["wrong type", "one too many", "one missing", "fraction", "null"],
)
def test_arguments_that_do_not_fit_are_explained_without_their_values(
    served: Served, arguments: dict[str, object]
) -> None:
    text = failed(served.call("add", arguments), "BadArguments")
    assert ARGUMENT not in text
    assert served.call("add", {"a": 1, "b": 2}).result["structuredContent"] == {"result": 3}
    assert outcomes("add") == ["BadArguments", "ok"]


def test_a_caller_that_hammers_is_turned_away_and_counted(tmp_path: Path, tools: Path) -> None:
    config = tmp_path / "bartizan.toml"
    slow = "{ per_minute = 1, burst = 3 }"
    config.write_text(f"[limits]\nread = {slow}\nrefusals = {slow}\n")
    with Served("--tools", tools, "--config", config) as served:
        answers = [served.call("add", {"a": 1, "b": 2}) for _ in range(40)]
        assert [answer.status for answer in answers[:6]] == [200] * 6
        assert {answer.status for answer in answers[6:]} == {429}
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        served.stop()
    assert outcomes("add") == ["ok"] * 3 + ["RateLimited"] * 3
    turned = [
        line for line in map(json.loads, audit_file().read_text().splitlines()) if line.get("event") == "turned away"
    ]
    assert sum(line["detail"]["requests"] for line in turned) == 34
    assert {line["detail"]["principal"] for line in turned} == {"key:local"}
    whole()


def test_whoever_has_spent_the_day_is_told_so_in_headers(tmp_path: Path, tools: Path) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text("[limits]\ndaily = { calls = 3, burst = 1 }\n")
    with Served("--tools", tools, "--config", config) as served:
        assert served.call("add", {"a": 1, "b": 2}).result["structuredContent"] == {"result": 3}
        # the first one too many is explained to the model; after that nobody reads what is sent
        explained = served.call("add", {"a": 1, "b": 2}).result["structuredContent"]["error"]
        assert explained["kind"] == "RateLimited"
        # the other two come back over the day
        assert 43_000 < explained["retryAfter"] <= 43_200
        turned = served.call("add", {"a": 1, "b": 2})
        assert turned.status == 429
        wait = int(turned.headers["retry-after"])
        assert 43_000 < wait <= 43_200
        assert turned.headers["ratelimit-policy"] == '"daily";q=3;w=86400'
        assert turned.headers["ratelimit"] == f'"daily";r=0;t={wait}'
        served.stop()
    assert outcomes("add") == ["ok", "RateLimited"]
    whole()


def test_what_was_answered_is_in_an_audit_that_is_flushed_when_the_server_is_killed(
    tmp_path: Path, tools: Path
) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text("[audit]\nsync = true\n")
    with Served("--tools", tools, "--config", config) as served:
        for number in range(5):
            assert served.call("add", {"a": number, "b": 1}).result["structuredContent"] == {"result": number + 1}
        served.stop(signal.SIGKILL)
    assert outcomes("add") == ["ok"] * 5
    whole()


def test_arguments_that_are_no_object_are_refused(served: Served) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": envelope({"name": "add", "arguments": [1]})}
    refused(served.post(json.dumps(body), served.headers("tools/call", "add")), 400, -32602)
    assert outcomes("add") == ["BadParams"]


@pytest.mark.parametrize("tool", ["raises", "odd", "exits", "exits_async"])
def test_a_tool_that_breaks_is_a_failure_with_an_id_and_no_words_of_its_own(served: Served, tool: str) -> None:
    text = failed(served.call(tool, {"text": ARGUMENT}), "ToolFailed")
    assert SECRET not in text
    assert ARGUMENT not in text
    assert re.search(r"[0-9a-f]{8}", text), "an id leads to the log"
    assert served.call("add", {"a": 1, "b": 2}).result["structuredContent"] == {"result": 3}
    assert outcomes(tool) == ["ToolFailed"]


@pytest.mark.parametrize("tool", ["hangs", "sleeps"])
def test_a_tool_that_hangs_is_given_up(served: Served, tool: str) -> None:
    text = failed(served.call(tool, {"text": SECRET[:0]}), "TimedOut")
    assert "300 milliseconds" in text
    assert served.call("add", {"a": 1, "b": 2}).result["structuredContent"] == {"result": 3}
    assert outcomes(tool) == ["TimedOut"]


# proves: stdio-only-protocol
def test_a_tool_that_prints_does_not_reach_the_wire(piped: Piped) -> None:
    assert piped.call("prints", {"text": ARGUMENT})["content"][0]["text"] == "printed"
    assert "stray" not in piped.out.text()
    piped.err.wait(lambda line: "stray child" in line)


def test_what_a_failing_tool_says_of_a_secret_argument_stays_out_of_the_log(piped: Piped) -> None:
    answer = piped.call("unlocks", {"password": "open 'sesame' now", "door": "front"})
    assert answer["isError"] is True
    assert "sesame" not in json.dumps(answer)
    piped.err.wait(lambda line: "fits the front door" in line)
    assert "sesame" not in piped.err.text()
    assert "sesame" not in audit_file().read_text()


@pytest.mark.parametrize("tool", ["exits", "exits_async"])
def test_a_tool_that_exits_does_not_end_the_server_on_a_pipe(piped: Piped, tool: str) -> None:
    assert piped.call(tool, {"text": "x"})["isError"] is True
    assert outcomes(tool) == ["ToolFailed"]


# Configuration


def test_a_typo_in_the_configuration_is_answered_with_the_nearest_key(tmp_path: Path) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text(f'[http]\nlisen = "{SECRET}"\n')
    done = run("serve", "--config", config)
    wrong(done, "line 2", "lisen", "`listen`")
    assert SECRET not in done.all


@pytest.mark.parametrize("auth", [f"bearer:{SECRET}", f"header:X-Key:{SECRET}", f"basic:{SECRET}:{SECRET}", SECRET])
def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path, document: Path, auth: str) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text(f'[[openapi]]\nfile = "{document.name}"\nbase_url = "https://api.example.com"\nauth = "{auth}"\n')
    for done in (
        run("serve", "--config", config),
        run("check", "--config", config),
        run("serve", "--openapi", document, "--base-url", "https://api.example.com", "--auth", auth),
    ):
        wrong(done, "env:NAME")
        assert SECRET not in done.all


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.toml"
    wrong(run("serve", "--config", missing), str(missing), "does not exist")
    wrong(run("serve", "--openapi", missing, "--base-url", "https://api.example.com"), "nowhere.toml")
    wrong(run("serve", "--tools", tmp_path / "nowhere.py"), "nowhere.py")
    wrong(run("serve", "--policy", tmp_path / "nowhere.cedar"), "nowhere.cedar")
    wrong(run("serve", "--connector", "nobody"), "equinix")


def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path, document: Path) -> None:
    held = tmp_path / "token"
    held.write_text(TOKEN)
    held.chmod(0o644)
    flags = ("--openapi", document, "--base-url", "https://api.example.com", "--auth", f"bearer:file:{held}")
    done = run("check", "--json", *flags)
    assert done.code == 2
    assert TOKEN not in done.all
    assert any("600" in finding["message"] for finding in done.json["findings"]), done
    with Served(*flags) as served:
        text = failed(served.call("get_thing", {"id": "a"}), "ToolFailed")
        assert TOKEN not in text
        served.serves()
    assert outcomes("get_thing") == ["ToolFailed"]
    held.chmod(0o600)
    assert run("check", *flags).code == 0


# Documents

THING: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Things", "version": "1"},
    "paths": {
        "/things/{id}": {
            "get": {
                "operationId": "get_thing",
                "summary": "One thing.",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/things": {
            "post": {
                "operationId": "make_thing",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                "responses": {"201": {"description": "ok"}},
            }
        },
    },
}


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "things.json"
    path.write_text(json.dumps(THING))
    return path


def changed(tmp_path: Path, paths: dict[str, Any], **more: object) -> Path:
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**THING, **more, "paths": {**THING["paths"], **paths}}))
    return path


@pytest.mark.parametrize("text", ["", "{", "[]", "just words", '{"openapi": "9.9"}', '{"swagger": "1.2"}', "a: [b"])
def test_a_document_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "none.yaml"
    path.write_text(text)
    wrong(run("tools", "--openapi", path, "--base-url", "https://api.example.com"), "none.yaml")


def test_an_operation_with_a_dangling_reference_is_left_out_and_the_rest_is_served(tmp_path: Path) -> None:
    broken = {"get": {"operationId": "broken", "responses": {"200": {"description": "ok"}},
                      "parameters": [{"$ref": "#/components/parameters/Nowhere"}]}}  # fmt: skip
    path = changed(tmp_path, paths={"/broken": broken})
    flags = ("--openapi", path, "--base-url", "https://api.example.com")
    names = [tool["name"] for tool in run("tools", "--json", *flags).json["tools"]]
    assert "get_thing" in names
    assert "broken" not in names
    done = run("check", "--json", *flags)
    assert any("broken" in finding["message"] for finding in done.json["findings"]), done


def test_operations_of_one_id_get_names_of_their_own(tmp_path: Path) -> None:
    twin = {"get": {"operationId": "get_thing", "responses": {"200": {"description": "ok"}}}}
    path = changed(tmp_path, paths={"/twin": twin})
    done = run("tools", "--json", "--full", "--openapi", path, "--base-url", "https://api.example.com")
    names = [tool["name"] for tool in done.json["tools"]]
    assert len(names) == 3
    assert len(set(names)) == 3
    again = run("tools", "--json", "--full", "--openapi", path, "--base-url", "https://api.example.com")
    assert again.out == done.out


def test_a_hostile_description_is_cleaned(tmp_path: Path) -> None:
    hostile = "Lists.\u001b[31m\u202eevil\u200b \u0007" + "x" * 50_000
    path = changed(tmp_path, paths={"/h": {"get": {"operationId": "hostile", "description": hostile,
                                                   "responses": {"200": {"description": "ok"}}}}})  # fmt: skip
    done = run("tools", "--json", "--openapi", path, "--base-url", "https://api.example.com")
    said = next(tool for tool in done.json["tools"] if tool["name"] == "hostile")["description"]
    assert not set(said) & set("\u001b\u202e\u200b\u0007")
    assert len(said) < 10_000
    assert "\u001b" not in run("tools", "--openapi", path, "--base-url", "https://api.example.com").out


def test_a_server_entry_on_another_host_is_not_followed(tmp_path: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, '{"stolen": true}')) as thief:
        evil = {"get": {"operationId": "evil", "servers": [{"url": thief.url}],
                        "responses": {"200": {"description": "ok"}}}}  # fmt: skip
        path = changed(tmp_path, servers=[{"url": thief.url}], paths={"/evil": evil})
        with Upstream(lambda handler: reply(handler, 200, '{"mine": true}')) as upstream, Api(path, upstream) as served:
            for tool in ("evil", "get_thing"):
                if tool in [one["name"] for one in served.tools()]:
                    served.call(tool, {"id": "a"} if tool == "get_thing" else {})
            served.serves()
        assert not thief.seen
        assert upstream.seen


# Upstreams


class Api(Served):
    """A document's tools, served against a loopback upstream with a bearer token."""

    def __init__(self, document: Path, upstream: Upstream, base: str = "", **more: object) -> None:
        config = document.with_name("api.toml")
        allowed = json.dumps([f"127.0.0.1:{upstream.port}"])
        egress = {"timeout": 5.0, "read_timeout": 0.5, "retries": 0, **more}
        settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in egress.items())
        config.write_text(
            f'[[openapi]]\nfile = "{document}"\nbase_url = "{upstream.url}{base}"\nauth = "bearer:env:API_TOKEN"\n'
            f"[egress]\nallow_private = {allowed}\n{settings}\n"
        )
        super().__init__("--config", config, "--policy", "admin", env={"API_TOKEN": TOKEN})


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def broken_off(handler: BaseHTTPRequestHandler) -> None:
    """Promise more than comes."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"half": ')
    handler.close_connection = True


PAGE = f"<html><title>oops {SECRET}</title></html>"


@pytest.mark.parametrize(
    "answer,kind",
    [
        (hang_up, "UpstreamFailed"),
        (broken_off, "UpstreamFailed"),
        (lambda handler: reply(handler, 500, PAGE, "text/html"), "UpstreamFailed"),
        (lambda handler: reply(handler, 200, '{"broken": ' + SECRET), "UpstreamFailed"),
        (
            lambda handler: reply(handler, 302, "", Location="http://169.254.169.254/latest/meta-data/"),
            "UpstreamFailed",
        ),
        (lambda handler: reply(handler, 401, '{"message": "no"}'), "UpstreamRefused"),
        (lambda handler: reply(handler, 404, '{"message": "no"}'), "UpstreamRefused"),
    ],
    ids=["reset", "broken off", "500 with HTML", "200 with broken JSON", "302 to metadata", "401", "404"],
)
def test_an_upstream_that_fails_is_a_typed_failure(
    document: Path, answer: Callable[[BaseHTTPRequestHandler], object], kind: str
) -> None:
    with Upstream(answer) as upstream, Api(document, upstream) as served:
        text = failed(served.call("get_thing", {"id": "abc"}), kind)
        assert "<html>" not in text
        assert TOKEN not in text
        assert upstream.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
        served.serves()
        served.stop()
        assert TOKEN not in served.said()
    assert outcomes("get_thing") in ([kind], ["tool_error"])
    assert TOKEN not in audit_file().read_text()
    whole()


def test_an_upstream_that_does_not_answer_is_out_of_time(document: Path) -> None:
    release = threading.Event()
    try:
        with Upstream(lambda _handler: release.wait(PATIENCE)) as upstream, Api(document, upstream) as served:
            answer = served.call("get_thing", {"id": "abc"})
            failed(answer, "TimedOut")
            served.serves()
            release.set()
    finally:
        release.set()
    assert outcomes("get_thing") == ["TimedOut"]


def test_an_upstream_that_is_not_there_is_a_typed_failure(document: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, "{}")) as upstream:
        pass
    with Api(document, upstream) as served:
        failed(served.call("get_thing", {"id": "abc"}), "UpstreamFailed")
        served.serves()
    assert outcomes("get_thing") == ["UpstreamFailed"]


def test_a_token_that_is_echoed_does_not_come_through(document: Path) -> None:
    def echo(handler: BaseHTTPRequestHandler) -> None:
        sent = handler.headers["authorization"]
        coded = base64.b64encode(TOKEN.encode()).decode()
        status = 200 if "good" in handler.path else 400
        reply(handler, status, json.dumps({"you_sent": sent, "coded": coded, "hex": TOKEN.encode().hex()}))

    with Upstream(echo) as upstream, Api(document, upstream) as served:
        for thing in ("good", "bad"):
            body = served.call("get_thing", {"id": thing}).body.decode()
            assert TOKEN not in body
            assert base64.b64encode(TOKEN.encode()).decode() not in body
            assert TOKEN.encode().hex() not in body
            assert "[redacted:" in body or thing == "bad"
        served.stop()
        assert TOKEN not in served.said()
    assert outcomes("get_thing") == ["ok", "tool_error"]
    assert TOKEN not in audit_file().read_text()


@pytest.mark.parametrize("path", ["..", ".", "%2e%2e", "a/b", "a\\b", "a?b", "a#b", "", "..%2f", "%00"])
def test_a_path_argument_cannot_leave_its_segment(document: Path, path: str) -> None:
    with Upstream(lambda handler: reply(handler, 200, "{}")) as upstream, Api(document, upstream, "/v1") as served:
        answer = served.call("get_thing", {"id": path})
        if upstream.seen:
            sent = upstream.seen[0].path
            assert sent.startswith("/v1/things/")
            assert sent.count("/") == 3, sent
            assert "?" not in sent
            assert sent.rsplit("/", 1)[1] not in {"", ".", "..", "%2e%2e", "%2E%2E", "%2e", "%2E"}
            assert outcomes("get_thing") == ["ok"]
        else:
            failed(answer, "BadArguments")
            assert outcomes("get_thing") == ["BadArguments"]
        if path in {"..", ".", "a/b"}:
            assert not upstream.seen or "%2F" in upstream.seen[0].path
        served.serves()


def test_private_addresses_are_not_reached_unless_they_are_listed(document: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, "{}")) as upstream:
        flags = ("--openapi", document, "--base-url", upstream.url)
        done = run("call", "get_thing", '{"id": "a"}', *flags, "--json")
        assert done.code in {2, 3, 4}, done
        sentence(done.error["message"])
        assert not upstream.seen


# Starts


def test_two_tools_of_one_name_are_refused(tmp_path: Path, tools: Path) -> None:
    second = tmp_path / "second.py"
    second.write_text(
        textwrap.dedent("""
        from bartizan import Server
        server = Server("second")

        @server.tool
        def add() -> int:
            "Add."
            return 1
    """)
    )
    wrong(run("serve", "--tools", tools, "--tools", second), "add")


def test_a_port_in_use_is_named(served: Served, tools: Path) -> None:
    address = f"127.0.0.1:{served.port}"
    wrong(run("serve", "--tools", tools, "--http", address), address)


# proves: listen-safely
@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "0.0.0.0:0", ":0"])
def test_an_address_that_cannot_be_listened_on_is_refused(tools: Path, address: str) -> None:
    wrong(run("serve", "--tools", tools, "--http", address))


def test_no_auth_is_for_loopback_only(tools: Path, tmp_path: Path) -> None:
    config = tmp_path / "open.toml"
    config.write_text("[http]\ninsecure_plaintext = true\n")
    wrong(run("serve", "--tools", tools, "--config", config, "--http", "0.0.0.0:0", "--no-auth"), "loopback")


def test_input_that_ends_in_the_middle_of_a_request_ends_the_server_in_order(tools: Path) -> None:
    with Piped("--tools", tools) as piped:
        piped.start("tools/call", {"name": "waits", "arguments": {"text": SECRET}})
        piped.err.wait(lambda line: line == "waiting")
        assert piped.process.stdin is not None
        piped.process.stdin.write('{"jsonrpc": "2.0", "id": 99, "met')
        assert piped.close() == 0
        said = piped.said()
        assert "panicked" not in said
    assert outcomes("waits") == ["unknown"]
    whole()


def test_two_servers_share_one_audit_file(tools: Path, tmp_path: Path) -> None:
    config = tmp_path / "shared.toml"
    log = tmp_path / "shared.jsonl"
    config.write_text(f'[audit]\npath = "{log}"\n')
    with Served("--tools", tools, "--config", config) as one, Served("--tools", tools, "--config", config) as two:

        def hammer(served: Served) -> None:
            for _ in range(20):
                assert served.call("add", {"a": 1, "b": 2}).result["structuredContent"] == {"result": 3}

        threads = [threading.Thread(target=hammer, args=(served,)) for served in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert one.stop()[0] == two.stop()[0] == 0
    assert outcomes("add", log) == ["ok"] * 80
    assert log.stat().st_mode & 0o777 == 0o600
    whole(log)


def test_a_server_that_is_killed_in_a_call_leaves_a_log_that_the_next_one_seals(tools: Path) -> None:
    with Served("--tools", tools) as served:

        def kill() -> None:
            served.err.wait(lambda line: line == "waiting")
            served.process.kill()

        threading.Thread(target=kill, daemon=True).start()
        with pytest.raises((OSError, HTTPException)):
            served.call("waits", {"text": ARGUMENT})
        served.process.wait(PATIENCE)
    with audit_file().open("a") as log:
        log.write('{"seq":3,"time":"2026-')
    with Served("--tools", tools) as served:
        assert served.call("add", {"a": 1, "b": 2}).result["structuredContent"] == {"result": 3}
        served.stop()
    whole()
    kinds = [line["kind"] for line in audited()]
    assert "recovery" in kinds, kinds
    intents = {line["id"] for line in audited() if line["kind"] == "intent" and line["tool"] == "waits"}
    report = run("audit", "verify", "--json").json
    ends = [line for line in audited() if line["kind"] == "outcome" and line["id"] in intents]
    assert [(line["tool"], line["result"]) for line in ends] == [("waits", "unknown")]
    assert (len(intents), report["calls"]) == (1, 2)


def test_the_state_folder_is_ours_alone(served: Served) -> None:
    folder = audit_file().parent
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in (one for one in folder.iterdir() if one.suffix != ".pub"):
        assert file.stat().st_mode & 0o077 == 0, file
    assert os.access(folder / "http.key", os.R_OK)
    assert program()
    assert served.key
