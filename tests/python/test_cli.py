"""Every command and flag, through the installed program."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from commands import (
    HANDSHAKE,
    PATIENCE,
    Piped,
    Process,
    Served,
    Upstream,
    approval,
    audit_file,
    audited,
    envelope,
    environment,
    outcomes,
    program,
    reply,
    run,
)

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - made up

TOOLS = """
import asyncio, sys, time
from bartizan import Server

server = Server("mine", instructions="Use with care.")

@server.tool(effect="read")
def add(a: int, b: int = 1) -> int:
    "Add two numbers."
    return a + b

@server.tool(toolset="things")
def make(name: str, password: str = "") -> str:
    "Make a thing."
    return "made " + name

@server.tool(effect="destroy", toolset="things")
def remove(name: str) -> str:
    "Remove a thing."
    return "removed " + name

@server.tool(effect="read")
async def slow() -> str:
    "Take long."
    print("slow runs", file=sys.stderr, flush=True)
    await asyncio.sleep(60)
    return "done"

@server.tool(effect="read")
def deaf() -> str:
    "Take long and hear nothing."
    print("deaf runs", file=sys.stderr, flush=True)
    time.sleep(60)
    return "done"

@server.tool(effect="read")
async def stubborn() -> str:
    "Take long and not be cancelled."
    print("stubborn runs", file=sys.stderr, flush=True)
    for _ in range(600):
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            pass
    return "done"
"""

# A server whose lifespan takes long to end, and which speaks where it must not.
LOUD = """
import asyncio, contextlib, os, subprocess, sys
from bartizan import Server

@contextlib.asynccontextmanager
async def life(server):
    print("noise from a lifespan", flush=True)
    os.write(1, b"noise from a descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('noise of a child'); import sys; sys.stdin.read()"], check=True)
    yield None
    print("noise at the end", flush=True)
    await asyncio.sleep(float(os.environ.get("LINGERS", "0")))

server = Server("loud", lifespan=life)

@server.tool(effect="read")
def add(a: int, b: int = 1) -> int:
    "Add two numbers."
    return a + b
"""

THINGS = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "1"},
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "security": [{"key": []}],
    "paths": {
        "/things": {
            "get": {
                "operationId": "list_things",
                "summary": "All things.",
                "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}}],
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/things/{id}": {
            "delete": {
                "operationId": "drop_thing",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"204": {"description": "gone"}},
            }
        },
    },
}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "things.json"
    path.write_text(json.dumps(THINGS))
    return path


def named(*flags: str | Path) -> list[str]:
    """Return the names that `bartizan tools` prints."""
    done = run("tools", "--json", *flags)
    assert done.code == 0, done
    return [tool["name"] for tool in done.json["tools"]]


# Help and usage


def test_help_teaches_and_a_wrong_flag_is_code_two() -> None:
    done = run("--help")
    assert done.code == 0
    for word in ("serve", "demo", "practice", "check", "tools", "call", "approvals", "audit", "completions"):
        assert word in done.out
        assert run(word, "--help").code == 0
    assert "Exit codes" in done.out
    assert run().code == 2
    assert run("serve", "--no-such-flag").code == 2
    assert run("nonsense").code == 2
    assert re.fullmatch(r"bartizan \d+\.\d+\.\d+\n", run("--version").out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_a_script_that_the_shell_reads(shell: str, tmp_path: Path) -> None:
    done = run("completions", shell)
    assert done.code == 0
    assert "approvals" in done.out
    found = shutil.which(shell)
    if found:
        script = tmp_path / "completions"
        script.write_text(done.out)
        subprocess.run([found, "-n", str(script)], check=True, timeout=PATIENCE)
    assert run("completions", "nonsense").code == 2


# Demo


def test_the_demo_tells_its_story_as_events() -> None:
    begun = time.monotonic()
    done = run("demo", "--json")
    assert time.monotonic() - begun < 15
    assert done.code == 0, done
    events = [json.loads(line) for line in done.out.splitlines()]
    assert all(event["ok"] for event in events)
    steps = [event["step"] for event in events]
    assert steps == ["start", "list", "read", "redact", "pause", "approve", "create", "once", "listed", "forbid",
                     "limit", "verify", "end"]  # fmt: skip
    facts = {event["step"]: event.get("facts", {}) for event in events}
    assert facts["forbid"]["kind"] == "Forbidden"
    log = facts["verify"]["log"]
    assert len(log) == facts["verify"]["lines"] > 20
    assert [line["seq"] for line in log] == list(range(log[0]["seq"], log[0]["seq"] + len(log)))
    assert all(later["prev"] == earlier["hash"] for earlier, later in itertools.pairwise(log))
    assert {"intent", "outcome", "event"} <= {line["kind"] for line in log}
    assert any(line.get("event") == "approval approved" for line in log)
    assert not audit_file().exists(), "the demo keeps away from the user's state"


def test_what_the_demo_prints_works_when_it_is_pasted() -> None:
    done = run("demo")
    assert done.code == 0, done
    assert "Done in" in done.out
    snippet = json.loads(done.out[done.out.index("\n{\n") :])
    (server,) = snippet["mcpServers"].values()
    child = subprocess.Popen(
        [server["command"], *server["args"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env={**environment(), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    call = {"name": "list_fabric_ports", "arguments": {}}
    for number, (method, params) in enumerate((("tools/list", {}), ("tools/call", call)), 1):
        child.stdin.write(
            json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": envelope(params)}) + "\n"
        )
        child.stdin.flush()
        answer = json.loads(child.stdout.readline())
        assert answer["id"] == number
        assert "tools" in answer["result"] or answer["result"]["structuredContent"]["data"]
    child.stdin.close()
    assert child.wait(PATIENCE) == 0
    child.stdout.close()


# Tools


def test_the_list_that_is_printed_is_the_one_that_is_served(tools: Path, document: Path) -> None:
    flags: tuple[str | Path, ...] = ("--tools", tools, "--openapi", document, "--base-url", "https://api.example.com",
             "--toolsets", "default,things,diagnostics", "--policy", "standard")  # fmt: skip
    done = run("tools", "--json", *flags)
    printed = done.json["tools"]
    assert done.code == 0
    with Served(*flags) as served:
        assert served.tools() == printed
        served.stop()
    with Piped(*flags) as piped:
        assert piped.ask("tools/list")["result"]["tools"] == printed
    assert {tool["name"] for tool in printed} >= {"add", "make", "echo", "whoami"}
    text = run("tools", *flags).out
    for tool in printed:
        assert tool["name"] in text
    assert re.search(r"^add +read +Add two numbers\.$", text, re.MULTILINE)
    assert re.search(r"^make +write ", text, re.MULTILINE)


def test_policies_filters_and_toolsets_shape_the_list(tools: Path) -> None:
    mine = ("--tools", tools)
    assert set(named(*mine)) == {"add", "slow", "deaf", "stubborn"}
    assert set(named(*mine, "--policy", "standard")) == {"add", "slow", "deaf", "stubborn", "make"}
    assert set(named(*mine, "--policy", "admin")) == {"add", "slow", "deaf", "stubborn", "make", "remove"}
    assert set(named(*mine, "--policy", "admin", "--read-only")) == {"add", "slow", "deaf", "stubborn"}
    assert set(named(*mine, "--policy", "admin", "--toolsets", "things")) == {"make", "remove"}
    assert set(named(*mine, "--toolsets", "diagnostics")) == {"echo", "whoami"}
    assert set(named(*mine, "--toolsets", "diagnostics", "--full")) >= {"add", "make", "remove", "echo"}
    done = run("tools", *mine, "--toolsets", "nonsense")
    assert done.code == 2
    assert "things" in done.err


def test_a_policy_of_ones_own_is_a_file(tools: Path, tmp_path: Path) -> None:
    policy = tmp_path / "mine.cedar"
    policy.write_text('permit(principal, action, resource) when { resource.name == "add" };\n')
    assert named("--tools", tools, "--policy", policy) == ["add"]
    policy.write_text("permit(nonsense")
    done = run("tools", "--tools", tools, "--policy", policy)
    assert done.code == 2
    assert "mine.cedar" in done.err


OPS = """\
@id("reads") permit (principal, action, resource) when { resource.effect == "read" };

@id("ops") permit (principal in Role::"ops", action == Action::"call", resource == Tool::"make");
"""


def test_policies_are_checked_explained_and_tested(tools: Path, tmp_path: Path) -> None:
    policy, cases = tmp_path / "ops.cedar", tmp_path / "cases.toml"
    policy.write_text(OPS)
    mine = ("--tools", tools, "--policy", policy)
    assert run("policy", "check", policy, "--tools", tools).code == 0
    checked = run("policy", "check", *mine, "--json").json
    assert (checked["ok"], checked["policies"], checked["findings"]) == (True, 2, [])

    asked = run("policy", "explain", "key:ci", "make", "--roles", "ops,dev", *mine, "--json").json
    assert (asked["verdict"], asked["by"]) == ("ask", ["ops"])
    assert (asked["deciding"][0]["file"], asked["deciding"][0]["line"]) == (str(policy), 3)
    denied = run("policy", "explain", "key:ci", "make", "--scopes", "read", *mine)
    assert denied.code == 0
    assert "deny" in denied.out
    assert "one of write, admin" in denied.out
    nearly = run("policy", "explain", "key:ci", "mak", *mine)
    assert nearly.code == 2
    assert "did you mean make?" in nearly.err
    assert run("policy", "explain", "key:ci", "add", "[1]", *mine).code == 2

    cases.write_text(
        '[[case]]\nprincipal = "key:ci"\ntool = "add"\nexpect = "allow"\npolicies = ["reads"]\n'
        '[[case]]\nprincipal = "key:ci"\nroles = ["ops"]\ntool = "make"\nexpect = "ask"\n'
    )
    assert run("policy", "test", cases, *mine).code == 0
    with cases.open("a") as more:
        more.write('[[case]]\nname = "ours"\nprincipal = "key:ci"\ntool = "make"\nexpect = "allow"\n')
    failed = run("policy", "test", cases, *mine)
    assert failed.code == 1
    assert re.search(r"^wrong ours$", failed.out, re.MULTILINE)
    assert "1 of 3" in failed.err
    rows = run("policy", "test", cases, *mine, "--json").json["cases"]
    assert [row["ok"] for row in rows] == [True, True, False]
    cases.write_text('[[case]]\nprincipal = "key:ci"\ntool = "add"\nexpected = "allow"\n')
    assert run("policy", "test", cases, *mine).code == 2

    schema = run("policy", "schema", *mine).out
    assert "entity Principal in [Role, Tenant]" in schema
    assert "type make = " in schema
    assert "" in run("policy", "schema", *mine, "--json").json

    policy.write_text(OPS + '@id("odd") forbid (principal, action, resource == Tool::"add")\n'
                      "when { context.arguments has aa && context.arguments.aa > 3 };\n")  # fmt: skip
    for command in ("tools", "check"):
        refused = run(command, *mine)
        assert refused.code == 2
        assert "odd" in refused.err
        assert "line 4" in refused.err
    found = run("policy", "check", *mine, "--json")
    assert found.code == 2
    assert json.loads(found.out)["findings"][0]["severity"] == "error"


def test_tools_come_from_a_module_too(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tools.parent)
    assert "add" in named("--tools", "mine")
    assert "add" in named("--tools", "mine:server")
    assert run("tools", "--tools", "mine:nothing").code == 2


def test_a_connector_is_named_once_or_twice_and_can_be_a_folder(tmp_path: Path) -> None:
    names = named("--connector", "equinix", "--practice", "--full")
    assert {"list_fabric_ports", "create_fabric_connection", "delete_connection"} <= set(names)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "connector.toml").write_text('name = "own"\nbase = "https://api.example.com"\ndocument = "things.json"\n')
    (folder / "things.json").write_text(json.dumps(THINGS))
    both = named("--connector", "equinix", "--connector", folder, "--practice", "--full")
    assert "list_things" in " ".join(both)
    assert set(names) < set(both)


# Call


def test_a_call_prints_its_result_and_exits_by_kind(tools: Path, document: Path) -> None:
    mine = ("--tools", tools)
    assert run("call", "add", '{"a": 2, "b": 3}', *mine).json == {"result": 5}
    assert run("call", "add", "-", *mine, text='{"a": 2}').json == {"result": 3}
    assert run("call", "add", '{"a": 2}', *mine, "--json").json["structuredContent"] == {"result": 3}
    for arguments, code, kind in (
        (("add", '{"a": "x"}'), 2, "BadArguments"),
        (("add", "nonsense"), 2, "BadArguments"),
        (("nobody",), 2, "NoSuchTool"),
        (("make", '{"name": "x"}', "--policy", "admin"), 3, "NeedsApproval"),
    ):
        done = run("call", *arguments, *mine, "--json")
        assert done.code == code, done
        assert done.error["kind"] == kind
        assert done.out == ""
    with Upstream(lambda handler: reply(handler, 404, "{}")) as upstream:
        config = document.with_name("call.toml")
        config.write_text(
            f'[[openapi]]\nfile = "things.json"\nbase_url = "{upstream.url}"\n'
            f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}"]\n'
        )
        assert run("call", "list_things", "--config", config).code == 4


@pytest.mark.parametrize("tool", ["slow", "deaf"])
def test_ctrl_c_cancels_a_call_from_the_shell(tools: Path, tool: str) -> None:
    with Process("call", tool, "--tools", tools, "--json") as process:
        process.err.wait(lambda line: line == f"{tool} runs")
        code, seconds = process.stop(signal.SIGINT)
        assert code == 5
        assert seconds < 5
        assert json.loads(process.err.all().splitlines()[-1])["error"]["kind"] == "Cancelled"
    assert outcomes(tool) == ["Cancelled"]
    assert run("audit", "verify").code == 0


# Check


def test_check_finds_what_a_start_would_refuse(tools: Path, document: Path, tmp_path: Path) -> None:
    assert run("check", "--tools", tools).code == 0
    assert run("check", "--connector", "equinix", "--practice", "--json").json["ok"] is True
    done = run("check", "--connector", "equinix")
    assert done.code == 2
    assert "EQUINIX_CLIENT_ID" in done.out
    env = {"EQUINIX_CLIENT_ID": "an-id-of-mine", "EQUINIX_CLIENT_SECRET": "a-secret-of-mine"}
    done = run("check", "--connector", "equinix", env=env)
    assert done.code == 0, done
    assert "a-secret-of-mine" not in done.all
    flags: tuple[str | Path, ...] = ("--openapi", document, "--base-url", "https://api.example.com")
    missing = run("check", *flags, "--auth", "bearer:env:NO_SUCH_TOKEN", "--json")
    assert missing.code == 2
    assert "NO_SUCH_TOKEN" in missing.json["findings"][0]["message"]
    assert missing.error["kind"] == "BadConfig"
    assert run("check", *flags, "--auth", "bearer:env:TOKEN_OF_MINE", env={"TOKEN_OF_MINE": "abcdefabcdef"}).code == 0
    assert run("check", "--config", tmp_path / "nowhere.toml").code == 2


def test_check_says_what_only_the_upstream_checks(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    odd = {"name": "code", "in": "query", "schema": {"type": "string", "pattern": "^(?!x).*$"}}
    fine = {"name": "size", "in": "query", "schema": {"type": "integer"}}
    operation = {"operationId": "look", "parameters": [odd, fine], "responses": {"200": {"description": "ok"}}}
    path.write_text(
        json.dumps(
            {"openapi": "3.1.0", "info": {"title": "Odd", "version": "1"}, "paths": {"/look": {"get": operation}}}
        )
    )
    done = run("check", "--openapi", path, "--base-url", "https://api.example.com", "--json")
    assert done.code == 0, done
    (finding,) = done.json["findings"]
    assert finding["severity"] == "note"
    assert "look is checked by the upstream in part" in finding["message"]
    assert "linear time: 1" in finding["message"]


def test_check_says_which_lists_go_on(tmp_path: Path) -> None:
    path = tmp_path / "things.json"
    things = {"value": {"type": "array", "items": {"type": "object"}}, "@odata.nextLink": {"type": "string"}}
    content = {"application/json": {"schema": {"type": "object", "properties": things}}}
    operation = {"operationId": "list", "responses": {"200": {"description": "ok", "content": content}}}
    document = {"openapi": "3.1.0", "info": {"title": "Acme", "version": "1"}, "paths": {"/things": {"get": operation}}}
    path.write_text(json.dumps(document))
    done = run("check", "--openapi", path, "--base-url", "https://api.example.com", "--json")
    assert done.code == 0, done
    said = [finding["message"] for finding in done.json["findings"]]
    assert said == ["acme: lists that go on page by page (link): list."]


def test_the_full_list_shows_what_nobody_here_may_call(tmp_path: Path) -> None:
    path = tmp_path / "scoped.py"
    path.write_text(
        "from bartizan import Server\nserver = Server('scoped')\n\n"
        "@server.tool(effect='read', scopes={'payroll'})\ndef salaries() -> str:\n    'Tell.'\n    return ''\n"
    )
    assert run("tools", "--tools", path, "--json").json["tools"] == []
    shown = run("tools", "--tools", path, "--full", "--json").json["tools"]
    assert [tool["name"] for tool in shown] == ["salaries"]


# Configuration


def test_the_configuration_keys_that_scripts_rely_on(tools: Path, tmp_path: Path) -> None:
    config = tmp_path / "bartizan.toml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "log" / "calls.jsonl"
    log.parent.mkdir()
    config.write_text(
        f'tools = ["{tools.name}"]\n[limits]\nread = {{ per_minute = 1, burst = 2 }}\n'
        f'write = {{ per_minute = 1, burst = 1 }}\ndestroy = {{ per_minute = 1, burst = 1 }}\n[policy]\nset = "admin"\n'
        f'[audit]\npath = "{log}"\n[http]\nlisten = "127.0.0.1:{port}"\n'
    )
    process = Process("serve", "--config", config)
    with process:
        process.err.wait(lambda line: f"http://127.0.0.1:{port}/mcp" in line)
        served = Served.__new__(Served)
        served.host, served.port, served.next = "127.0.0.1", port, 0
        served.key = (audit_file().parent / "http.key").read_text().strip()
        results = [served.call("add", {"a": 1}).result for _ in range(3)]
        assert [result.get("isError", False) for result in results] == [False, False, True]
        error = results[2]["structuredContent"]["error"]
        assert error["kind"] == "RateLimited"
        assert 0 < error["retryAfter"] <= 60
        assert served.call("make", {"name": "x"}).text == "made x"
        error = served.call("remove", {"name": "x"}).result["structuredContent"]["error"]
        assert error["kind"] == "NeedsApproval"  # which counts too
        error = served.call("make", {"name": "x"}).result["structuredContent"]["error"]
        assert error["kind"] == "RateLimited"
        assert process.stop()[0] == 0
    assert outcomes("add", log) == ["ok", "ok", "RateLimited"]
    assert outcomes("make", log) == ["ok", "RateLimited"]
    assert outcomes("remove", log) == ["NeedsApproval"]
    assert run("audit", "verify", "--config", config).code == 0
    assert not audit_file().exists()


def test_paths_in_a_file_are_relative_to_it(tools: Path, tmp_path: Path) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text(f'tools = ["{tools.name}"]\n[audit]\npath = "beside.jsonl"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run("call", "add", '{"a": 1}', "--config", config, cwd=elsewhere).code == 0
    assert outcomes("add", tmp_path / "beside.jsonl") == ["ok"]
    assert run("tools", env={"BARTIZAN_CONFIG": str(config)}, cwd=elsewhere).out.startswith("add")


def test_errors_are_json_where_json_was_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "bartizan.toml"
    config.write_text("nonsense = 1\n")
    for command in (("tools",), ("check",), ("call", "x"), ("approvals", "list"), ("audit", "verify")):
        done = run(*command, "--json", "--config", config)
        assert done.code == 2, done
        assert done.error["kind"] == "BadConfig"
        assert "line 1" in done.error["message"]


# Serve


def test_a_key_is_minted_into_a_file_of_ours_and_announced_once(tools: Path) -> None:
    with Served("--tools", tools) as served:
        told = served.err.wait(lambda line: re.search(r"in (\S+/http\.key) \(0600\)", line))[1]
        key = Path(told)
        assert key.stat().st_mode & 0o777 == 0o600
        assert served.call("add", {"a": 1}).result["structuredContent"] == {"result": 2}
        served.stop()
        assert served.key not in served.said()
    with Served("--tools", tools) as again:
        assert again.call("add", {"a": 1}).status == 200
        again.stop()
        assert "a key was made" not in again.said()
    assert served.key not in audit_file().read_text()
    assert audit_file().stat().st_mode & 0o777 == 0o600


def test_first_starts_meet_and_what_a_crash_left_is_no_obstacle(tools: Path, state: Path) -> None:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    left = state / "http.key"
    left.touch(mode=0o600)
    flags = ("serve", "--http", "127.0.0.1:0", "--tools", tools)
    with Process(*flags) as one, Process(*flags) as other:
        for process in (one, other):
            process.err.wait(lambda line: line.startswith("serving http://"))
        assert left.read_text().startswith("bz_")
        for process in (one, other):
            process.stop()
        assert sum("http.key" in process.said() for process in (one, other)) == 1, "one of them made the key"
    with Served("--tools", tools) as served:
        assert served.call("add", {"a": 1}).status == 200
    keys = json.loads((state / "keys.json").read_text())["keys"]
    assert len(keys) == 1


def test_a_key_of_ours_does_not_leave_in_a_result(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "reader.py"
    path.write_text(
        "from pathlib import Path\nfrom bartizan import Server\nserver = Server('reader')\n\n"
        "@server.tool(effect='read')\ndef peek() -> str:\n    'Read what it should not.'\n"
        f"    return 'it says ' + Path({str(state / 'http.key')!r}).read_text()\n"
    )
    with Served("--tools", path) as served:
        minted = served.call("peek").text
        assert served.key not in minted
        assert "[redacted:bartizan]" in minted
        served.stop()
    with Served("--tools", path) as again:  # it did not make the key, and knows it by sight
        assert again.key not in again.call("peek").text


def test_a_loop_in_a_shell_has_one_quota_for_what_it_changes(tools: Path, tmp_path: Path) -> None:
    config = tmp_path / "few.toml"
    config.write_text(f'tools = ["{tools}"]\npolicy = "admin"\n[limits]\nwrite = {{ per_minute = 1, burst = 2 }}\n')
    kinds = [
        run("call", "make", json.dumps({"name": str(number)}), "--config", config, "--json").error["kind"]
        for number in range(3)
    ]
    assert kinds == ["NeedsApproval", "NeedsApproval", "RateLimited"]
    assert run("call", "add", '{"a": 1}', "--config", config).code == 0


def test_no_auth_lets_this_machine_in_and_says_so(tools: Path) -> None:
    with Served("--tools", tools, "--no-auth") as served:
        served.err.wait(lambda line: "--no-auth" in line)
        assert served.call("add", {"a": 1}).status == 200
    done = run("serve", "--tools", tools, "--no-auth")
    assert done.code == 2
    assert "--http" in done.err


def test_both_doors_are_open_on_one_server(tools: Path) -> None:
    with Served("--tools", tools) as served:
        params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": {"name": "old", "version": "0"}}
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        headers = {name: value for name, value in served.headers().items() if name != "MCP-Protocol-Version"}
        answer = served.post(json.dumps(hello), headers)
        assert answer.result["protocolVersion"] == HANDSHAKE
        assert answer.result["instructions"] == "Use with care."
        old = {**headers, "MCP-Protocol-Version": HANDSHAKE, "Mcp-Session-Id": answer.headers["mcp-session-id"]}
        assert served.post('{"jsonrpc": "2.0", "method": "notifications/initialized"}', old).status == 202
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 4}}}
        assert served.post(json.dumps(call), old).result["structuredContent"] == {"result": 5}
        assert served.call("add", {"a": 1}).result["structuredContent"] == {"result": 2}
        served.serves()


def test_a_pipe_carries_calls_and_ends_with_its_input(tools: Path) -> None:
    with Piped("--tools", tools) as piped:
        assert piped.call("add", {"a": 1, "b": 2})["structuredContent"] == {"result": 3}
        assert piped.close() == 0
    assert [line["transport"] for line in audited() if line["kind"] == "intent"] == ["stdio"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("tool", ["slow", "deaf"])
def test_a_signal_ends_a_server_within_five_seconds_whatever_runs(tools: Path, sign: signal.Signals, tool: str) -> None:
    with Served("--tools", tools) as served:
        stream = served.open()
        params = {"notifications": {"toolsListChanged": True}}
        stream.request(
            "POST", "/mcp", served.message("subscriptions/listen", params), served.headers("subscriptions/listen")
        )
        listening = stream.getresponse()
        assert listening.status == 200
        assert b"data:" in listening.readline() + listening.readline()
        called: list[Any] = []

        def call() -> None:
            try:
                called.append(served.call(tool))
            except Exception as error:  # noqa: BLE001 - how a call ends at a stop is the server's choice
                called.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        served.err.wait(lambda line: line == f"{tool} runs")
        code, seconds = served.stop(sign)
        caller.join(PATIENCE)
        assert (code, called != []) == (0, True)
        assert seconds < 5.5, seconds
        stream.close()
        assert not {"panicked", "Traceback"} & set(re.findall(r"\w+", served.said()))
    assert len(outcomes(tool)) == 1
    assert run("audit", "verify").code == 0


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("tool", ["", "slow", "deaf", "stubborn"])
def test_a_signal_ends_a_server_on_a_pipe_within_five_seconds(tools: Path, sign: signal.Signals, tool: str) -> None:
    with Piped("--tools", tools) as piped:
        assert piped.ask("server/discover")["result"]
        if tool:
            piped.start("tools/call", {"name": tool, "arguments": {}})
            piped.err.wait(lambda line: line == f"{tool} runs")
        code, seconds = piped.stop(sign)
        assert code == 0
        assert seconds < 5.5, seconds
        assert "panicked" not in piped.said()
    assert run("audit", "verify").code == 0


@pytest.mark.parametrize("way", ["serve", "run"])
def test_nothing_that_loads_can_touch_the_wire(tmp_path: Path, way: str) -> None:
    script = tmp_path / "loud.py"
    first = 'print("noise of an import", flush=True)\n' if way == "serve" else ""
    script.write_text(first + LOUD + ("" if way == "serve" else "\nsys.exit(server.run())\n"))
    command = [program(), "serve", "--tools", str(script)] if way == "serve" else [sys.executable, str(script)]
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": envelope({"name": "add", "arguments": {"a": 1}}),
    }
    done = subprocess.run(
        command, input=json.dumps(asked) + "\n", capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["id"], answer["result"]["structuredContent"]) for answer in answers] == [(1, {"result": 2})]
    for noise in ("from a lifespan", "from a descriptor", "of a child", "at the end"):
        assert f"noise {noise}" in done.stderr


def test_a_lifespan_that_lingers_does_not_hold_up_the_end(tmp_path: Path) -> None:
    script = tmp_path / "loud.py"
    script.write_text(LOUD)
    with Piped("--tools", script, env={"LINGERS": "60"}) as piped:
        assert piped.call("add", {"a": 1})["structuredContent"] == {"result": 2}
        code, seconds = piped.stop(signal.SIGTERM)
        assert code == 0
        assert seconds < 5.5, seconds
        assert "the lifespan did not end in time" in piped.said()


def test_a_signal_ends_a_server_that_hangs_while_it_loads(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text("import sys, time\nprint('hangs', file=sys.stderr, flush=True)\ntime.sleep(60)\n")
    with Piped("--tools", script) as piped:
        piped.err.wait(lambda line: line == "hangs")
        code, seconds = piped.stop(signal.SIGTERM)
        assert (code, seconds < 2) == (130, True)


def test_practice_answers_from_a_stand_in_and_asks_for_no_credential() -> None:
    with Served("--connector", "equinix", "--practice", "--policy", "standard") as served:
        served.err.wait(lambda line: line.startswith("practice: equinix answers"))
        ports = served.call("list_fabric_ports").result
        assert ports["structuredContent"]["data"]
        assert "practice" in json.dumps(ports)
        served.stop()
    assert [line["practice"] for line in audited() if line["kind"] == "intent"] == [True]


def test_a_document_is_served_with_a_token_from_the_environment(document: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, '[{"id": "a"}]')) as upstream:
        config = document.with_name("api.toml")
        config.write_text(f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}"]\n')
        flags = ("--config", config, "--openapi", document, "--base-url", f"{upstream.url}/v2",
                 "--auth", "bearer:env:THINGS_TOKEN")  # fmt: skip
        with Served(*flags, env={"THINGS_TOKEN": "abcdef0123456789"}) as served:
            result = served.call("list_things", {"limit": 5}).result
            assert json.loads(result["content"][0]["text"])
            assert (upstream.seen[0].method, upstream.seen[0].path) == ("GET", "/v2/things?limit=5")
            assert upstream.seen[0].headers["authorization"] == "Bearer abcdef0123456789"
            assert [tool["name"] for tool in served.tools()] == ["list_things"]
            refused = served.call("drop_thing", {"id": "a"})
            assert "error" in refused.json or refused.result["isError"]
            assert len(upstream.seen) == 1


# Practice


def test_practice_serves_a_document_and_checks_what_it_is_sent(document: Path) -> None:
    with Process("practice", document, "--json") as process:
        told = json.loads(process.out.wait(lambda line: line))
        assert told["operations"] == 2
        base = told["url"].rstrip("/")

        def fetch(path: str, **headers: str) -> int:
            request = urllib.request.Request(base + path, headers=headers)  # noqa: S310 - loopback
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - loopback
                    return int(response.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        credential = told["credential"]
        asked = {name: credential[name] for name in ("client_id", "client_secret")}
        body = json.dumps({**asked, "grant_type": "client_credentials"}).encode()
        request = urllib.request.Request(  # noqa: S310 - loopback
            credential["token_url"], body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - loopback
            token = json.load(response)["access_token"]
        allowed = {"Authorization": f"Bearer {token}"}
        assert fetch("/things") == 401
        assert fetch("/things", **allowed) == 200
        assert fetch("/things?limit=1000", **allowed) == 400
        assert fetch("/things", **allowed, **{"x-practice-fault": "500"}) == 500
        assert process.stop() < (1, 5)
    assert run("practice", document, "--listen", "0.0.0.0:0").code == 2
    assert run("practice", document, "--fault", "nonsense").code == 2
    assert run("practice", "no-such-document").code == 2


# Approvals


def acts(text: str) -> list[tuple[str, str]]:
    """Return what operators did and who, as an audit says it."""
    events = [json.loads(line) for line in text.splitlines()]
    return [
        (event["event"], event["detail"].get("operator") or event["detail"]["about"]["operator"])
        for event in events
        if event["kind"] == "event" and ("approval" in event["event"] or "operator" in event["event"])
    ]


def test_the_whole_journey_of_an_approval_between_two_processes(tools: Path, tmp_path: Path) -> None:
    env = {"OPERATOR_PASSPHRASE": PASSPHRASE}
    key = ("--passphrase", "env:OPERATOR_PASSPHRASE")
    with Served("--tools", tools, "--policy", "standard") as served:
        arguments = {"name": "bridge", "password": "swordfish-swordfish"}
        nobody = served.call("make", arguments)
        assert nobody.result["isError"]
        assert "approvals enrol" in nobody.text
        short = run("approvals", "enrol", "ada", *key, env={"OPERATOR_PASSPHRASE": "short"})
        assert short.code == 2
        enrolled = run("approvals", "enrol", "ada", *key, "--json", env=env)
        assert enrolled.code == 0, enrolled
        private = Path(enrolled.json["key"])
        assert private.stat().st_mode & 0o777 == 0o600

        waits = approval(served.call("make", arguments))
        listed = run("approvals", "list", "--json").json["approvals"]
        assert [(one["id"], one["status"]) for one in listed] == [(waits, "pending")]
        shown = run("approvals", "show", waits)
        assert all(word in shown.out for word in ("bridge", "make"))
        assert "swordfish" not in shown.all
        assert waits in run("approvals", "list").out

        wrong = run("approvals", "approve", waits, *key, env={"OPERATOR_PASSPHRASE": "not the right one"})
        assert wrong.code in {2, 3}
        assert "not the right one" not in wrong.all
        approval(served.call("make", arguments))

        agreed = run("approvals", "approve", waits, *key, env=env)
        assert agreed.code == 0, agreed
        other = approval(served.call("make", {**arguments, "name": "another"}))
        assert other != waits
        done = served.call("make", arguments)
        assert done.text == "made bridge", done
        again = approval(served.call("make", arguments))
        assert again != waits

        held = tmp_path / "passphrase"
        held.write_text(PASSPHRASE)
        held.chmod(0o600)
        assert run("approvals", "refuse", again, "--passphrase", f"file:{held}", "--operator", "ada").code == 0
        refused = served.call("make", arguments)
        assert refused.result["isError"]
        spent = run("approvals", "approve", waits, *key, env=env)
        assert spent.code != 0
        unknown = run("approvals", "show", "aaaa-bbbb-cccc", "--json")
        assert unknown.code != 0
        assert unknown.error["message"]
        served.stop()
    assert outcomes("make").count("ok") == 1
    text = audit_file().read_text()
    assert acts(text) == [
        ("operator enrolled", "ada"),
        ("operator act failed", "ada"),  # the wrong passphrase
        ("approval approved", "ada"),
        ("approval refused", "ada"),
        ("approval approved", "ada"),  # asked for again, and spent
        ("operator act failed", "ada"),
    ]
    assert "swordfish" not in text
    assert PASSPHRASE not in text
    assert run("audit", "verify").code == 0


def totp(uri: str, ahead: int = 0) -> str:
    """Return the code that an authenticator shows (RFC 6238)."""
    secret = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["secret"][0]
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    step = int(time.time()) // 30 + ahead
    digest = hmac.new(key, step.to_bytes(8, "big"), "sha1").digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def test_what_destroys_needs_a_second_factor_and_its_codes_are_good_once(tools: Path, tmp_path: Path) -> None:
    env = {"OPERATOR_PASSPHRASE": PASSPHRASE}
    key = ("--passphrase", "env:OPERATOR_PASSPHRASE")
    policy = tmp_path / "asks.cedar"
    policy.write_text('permit (principal, action == Action::"call", resource);')
    with Served("--tools", tools, "--policy", policy) as served:
        assert run("approvals", "enrol", "ada", *key, env=env).code == 0
        refused = served.call("remove", {"name": "bridge"})
        assert refused.result["isError"]
        assert "bartizan approvals factor enrol" in refused.text

        with Process("approvals", "factor", "enrol", "ada", *key, env=env, stdin=subprocess.PIPE) as enrolling:
            uri = enrolling.out.wait(lambda line: line if line.startswith("otpauth://") else None)
            assert enrolling.process.stdin is not None
            # the code of the step before, so that the one of now is not used up
            enrolling.process.stdin.write(totp(uri, -1) + "\n")
            enrolling.process.stdin.close()
            said = enrolling.said()
        recovery = re.findall(r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b", said)
        assert len(recovery) == 10, said
        secret = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["secret"][0]
        kept = Path(os.environ["BARTIZAN_STATE_DIR"]) / "factors" / "ada.factor"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert not [word for word in (secret, *recovery) if word in kept.read_text()]

        waits = approval(served.call("remove", {"name": "bridge"}))
        bare = run("approvals", "approve", waits, *key, env=env)
        assert bare.code != 0
        assert "code" in bare.err
        wrong = run("approvals", "approve", waits, *key, "--code", "000000", env=env)
        assert wrong.code == 3
        approval(served.call("remove", {"name": "bridge"}))
        code = totp(uri)
        agreed = run("approvals", "approve", waits, *key, "--code", code, env=env)
        assert agreed.code == 0, agreed
        assert "second factor: totp" in run("approvals", "show", waits).out
        assert not served.call("remove", {"name": "bridge"}).result.get("isError")

        waits = approval(served.call("remove", {"name": "tunnel"}))
        again = run("approvals", "approve", waits, *key, "--code", code, env=env)
        assert again.code == 3
        assert "used already" in again.err
        assert run("approvals", "approve", waits, *key, "--code", recovery[0].lower(), env=env).code == 0
        assert not served.call("remove", {"name": "tunnel"}).result.get("isError")
        spent = run("approvals", "factor", "remove", "ada", *key, "--code", recovery[0], env=env)
        assert spent.code == 3
        listed = run("approvals", "factor", "list", "--json").json["factors"]
        assert [(one["name"], one["locked"], one["recovery_left"]) for one in listed] == [("ada", False, 9)]
        assert run("approvals", "factor", "remove", "ada", *key, "--code", recovery[1], env=env).code == 0
        assert "factor enrol" in served.call("remove", {"name": "tunnel"}).text
        served.stop()
    text = audit_file().read_text()
    assert all(event in text for event in ("second factor enrolled", "second factor failed", "second factor removed"))
    assert not [word for word in (secret, code, *recovery, PASSPHRASE) if word in text]


# Audit


def test_the_audit_is_read_and_verified(tools: Path, tmp_path: Path) -> None:
    for number in range(3):
        assert run("call", "add", json.dumps({"a": number}), "--tools", tools).code == 0
    assert run("call", "add", '{"a": "x"}', "--tools", tools).code == 2
    good = run("audit", "verify", "--json")
    assert good.code == 0
    head = good.json["head"]
    assert run("audit", "verify", "--head", head).code == 0
    assert head in run("audit", "verify").out
    assert len(run("audit", "tail", "-n", "2", "--json").out.splitlines()) == 2
    rows = [json.loads(line) for line in run("audit", "query", "--tool", "add", "--json").out.splitlines()]
    assert [row["kind"] for row in rows] == ["intent", "outcome"] * 4
    bad = run("audit", "query", "--outcome", "BadArguments", "--json").out.splitlines()
    assert len(bad) == 1
    assert run("audit", "query", "--principal", "nobody").out == ""
    assert run("audit", "query", "--since", "2999-01-01T00:00:00Z").out == ""

    lines = audit_file().read_text().splitlines()

    def verdict(*changed: str) -> tuple[int, str]:
        copy = tmp_path / "copy.jsonl"
        copy.write_text("".join(line + "\n" for line in changed))
        copy.chmod(0o600)
        done = run("audit", "verify", "--file", copy, "--head", head)
        return done.code, done.err

    edited = lines[3].replace('"tool":"add"', '"tool":"bad"')
    assert edited != lines[3]
    for changed in ([*lines[:3], edited, *lines[4:]], [*lines[:3], *lines[4:]],
                    [*lines[:3], lines[4], lines[3], *lines[5:]]):  # fmt: skip
        code, said = verdict(*changed)
        assert code == 1, said
        assert "line 4" in said.lower(), said
    assert verdict(*lines) == (0, "")
    code, said = verdict(*lines[:-2])
    assert code == 1
    assert "cut off" in said
    assert run("audit", "verify", "--file", tmp_path / "nowhere.jsonl").code != 0


def test_a_reader_that_has_seen_enough_is_no_failure(tools: Path) -> None:
    command = f"{shlex.quote(program())} tools --tools {shlex.quote(str(tools))} --json | head -c 10"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert os.environ["BARTIZAN_STATE_DIR"]
