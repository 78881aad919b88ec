"""Servers that change while they run, and the functions that watch them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bartizan import ConfigError, Principal, ProtocolError, Server
from commands import PATIENCE, Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bartizan.testing import Result

DEADLINE = 20.0


async def until(found: Callable[[], Any]) -> Any:
    """Wait for something to become true."""
    deadline = time.monotonic() + DEADLINE
    while not (value := found()):
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.01)
    return value


def audited(state: Path) -> list[dict[str, Any]]:
    """Return the audit's records."""
    file = state / "audit.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# --- lists


async def test_a_tool_may_add_and_remove_tools_sync_and_async(server: Server) -> None:
    def late() -> str:
        return "late"

    @server.tool(effect="read")
    def grow() -> None:
        server.add_tool(late, "grown", effect="read")

    @server.tool(effect="read")
    async def shrink() -> str:
        server.remove_tool("grown")
        server.remove_tool("shrink")
        return "still here"

    async with server.test_client() as client:
        await client.call("grow")
        assert (await client.call("grown")).text == "late"
        assert (await client.call("shrink")).text == "still here"
        for gone in ("grown", "shrink"):
            with pytest.raises(ProtocolError):
                await client.call(gone)
        assert [tool["name"] for tool in await client.tools()] == ["grow"]


async def test_threads_that_add_and_remove_leave_the_server_and_its_notes_alike(server: Server) -> None:
    @server.tool(effect="read")
    def fixed() -> str:
        return "fixed"

    def churn(number: int) -> None:
        for _ in range(40):
            server.add_tool(lambda: "x", f"passing_{number}", effect="read")
            server.add_prompt(lambda: "x", f"prompt_{number}")
            server.add_resource(lambda: "x", f"a://{number}", name=f"resource_{number}")
            server.remove_tool(f"passing_{number}")
            server.remove_prompt(f"prompt_{number}")
            server.remove_resource(f"resource_{number}")
        server.add_tool(lambda: "x", f"stays_{number}", effect="read")

    async with server.test_client() as client:
        threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            names = [tool["name"] for tool in await client.tools()]
            assert names[0] == "fixed"
            assert len(names) == len(set(names))
        for thread in threads:
            thread.join()
        assert sorted(tool["name"] for tool in await client.tools())[1:] == [f"stays_{n}" for n in range(4)]
    # what the server remembers is what it served
    async with server.test_client() as client:
        assert sorted(tool["name"] for tool in await client.tools())[1:] == [f"stays_{n}" for n in range(4)]


async def test_a_tool_that_cannot_be_added_is_added_nowhere(server: Server) -> None:
    async with server.test_client() as one, server.test_client() as other:
        with pytest.raises(ConfigError):
            server.add_tool(lambda: "x", "a name with spaces")
        server.add_tool(lambda: "x", "fine", effect="read")
        for client in (one, other):
            assert [tool["name"] for tool in await client.tools()] == ["fine"]


# --- reload


CONFIG = """
policy = "{policy}"
[audit]
checkpoint_every = 0
"""

TOOLS = """
from bartizan import Server

server = Server("shop")


@server.tool(effect="read")
def look() -> str:
    return "tea"


@server.tool(effect="write")
def order() -> str:
    return "ordered"
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
@pytest.mark.parametrize("way", ["signal", "changes"])
def test_a_served_configuration_is_read_again(way: str, tmp_path: Path, state: Path) -> None:
    (tmp_path / "shop.py").write_text(TOOLS)
    config = tmp_path / "bartizan.toml"

    def write(text: str) -> None:
        config.write_text(f'reload = "{way}"\ntools = ["shop.py"]\n{text}')

    def events(name: str) -> list[dict[str, Any]]:
        return [record for record in audited(state) if record.get("event") == name]

    def reload(name: str) -> None:
        before = len(events(name))
        if way == "signal":
            served.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while len(events(name)) == before:
            assert served.process.poll() is None, served.err.text()
            assert time.monotonic() < deadline, served.err.text()
            time.sleep(0.02)

    def listed() -> list[str]:
        return [tool["name"] for tool in served.tools()]

    write(CONFIG.format(policy="read-only"))
    with Served("--config", config) as served:
        assert len(events("configuration loaded")) == 1
        assert listed() == ["look"]
        write(CONFIG.format(policy="admin"))
        reload("configuration reloaded")
        # the event is written first; what it says holds a moment later
        deadline = time.monotonic() + PATIENCE
        while listed() != ["look", "order"]:
            assert time.monotonic() < deadline
        assert served.call("order").text == "ordered"
        write("[htp]\n")
        reload("configuration refused")
        assert served.call("order").text == "ordered"
        assert "the former one stays" in served.err.wait(lambda line: "new configuration" in line and line)
        write("practice = true\n" + CONFIG.format(policy="read-only"))
        reload("configuration refused")
        assert "`practice` cannot change" in events("configuration refused")[-1]["detail"]["reason"]
        assert served.call("order").text == "ordered"
        code, _ = served.stop()
        assert code == 0


# --- guards


def kind(result: Result) -> str:
    """Return the kind of a failure."""
    assert result.is_error
    found: str = result.structured["error"]["kind"]
    return found


async def test_a_guard_asks_and_denies_and_cannot_allow(state: Path) -> None:
    server = Server("guarded", policy="standard")
    seen: list[Any] = []

    @server.tool(effect="read")
    def look(what: str) -> str:
        return what

    @server.tool(effect="write")
    def change() -> str:
        return "changed"

    @server.guard
    def no_gold(principal: Principal, tool: str, arguments: dict[str, Any], effect: str) -> str | None:
        seen.append((principal.id, tool, dict(arguments), effect))
        arguments["what"] = "tea"  # a copy: nothing comes of it
        return "deny" if "gold" in str(seen[-1]) else "allow"

    @server.guard(timeout=2)
    async def doubt(arguments: dict[str, Any]) -> str | None:
        await asyncio.sleep(0)
        return "ask" if arguments.get("what") == "silver" else None

    async with server.test_client() as client:
        assert (await client.call("look", {"what": "copper"})).text == "copper"
        assert seen[0][1:] == ("look", {"what": "copper"}, "read")
        assert seen[0][0].startswith("local:")
        assert kind(await client.call("look", {"what": "gold"})) == "Forbidden"
        assert kind(await client.call("look", {"what": "silver"})) == "NeedsApproval"
        # it says "allow", and still a person has to agree
        assert kind(await client.call("change")) == "NeedsApproval"
    outcomes = {record["result"]: record for record in audited(state) if record["kind"] == "outcome"}
    assert outcomes["Forbidden"]["verdict"] == "deny"
    assert "guard:no_gold" in outcomes["Forbidden"]["policy"]


@pytest.mark.parametrize("form", ["sync", "async"])
@pytest.mark.parametrize("way", ["raises", "answers oddly", "says yes", "takes too long"])
async def test_a_guard_that_fails_denies(form: str, way: str) -> None:
    server = Server("guarded", policy="admin")
    ran = []
    release = threading.Event()

    @server.tool(effect="read")
    def look() -> str:
        ran.append(1)
        return "tea"

    def rule() -> Any:
        if way == "raises":
            message = "hunter2"
            raise RuntimeError(message)
        return {"answers oddly": "perhaps", "says yes": True}.get(way)

    if form == "sync":

        @server.guard(timeout=0.2)
        def sync_rule() -> Any:
            if way == "takes too long":
                release.wait(DEADLINE)
            return rule()

    else:

        @server.guard(timeout=0.2)
        async def async_rule() -> Any:
            if way == "takes too long":
                await asyncio.Event().wait()
            return rule()

    async with server.test_client() as client:
        refused = await client.call("look")
        assert kind(refused) == "Forbidden"
        assert "hunter2" not in refused.text
    release.set()
    assert not ran


def test_a_guard_wants_what_there_is(server: Server) -> None:
    @server.guard
    def odd(weather: str) -> None: ...

    with pytest.raises(ConfigError, match="weather"):
        server.run(arguments=[])


async def test_hooks_come_before_the_start(server: Server) -> None:
    async with server.test_client():
        with pytest.raises(ConfigError, match="before the server runs"):
            server.guard(lambda: None)
        with pytest.raises(ConfigError, match="before the server runs"):
            server.audit_sink(lambda record: record.clear())


# --- audit sinks


async def test_a_sink_gets_each_record_after_it_was_written(server: Server, state: Path) -> None:
    plain: list[dict[str, Any]] = []
    later: list[dict[str, Any]] = []
    early: list[dict[str, Any]] = []

    @server.tool(effect="read")
    def look(password: str) -> str:
        return f"tea for {len(password)}"

    @server.audit_sink
    def remember(record: dict[str, Any]) -> None:
        if record not in audited(state):
            early.append(record)
        plain.append(record)

    @server.audit_sink()
    async def send(record: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        later.append(record)

    @server.audit_sink
    def broken(record: dict[str, Any]) -> None:
        raise RuntimeError(record)

    async with server.test_client() as client:
        await client.call("look", {"password": "correct-horse-battery"})
        await until(lambda: all(any(record["kind"] == "outcome" for record in got) for got in (plain, later)))
    assert not early
    file = audited(state)
    for got in (plain, later):
        assert [record["seq"] for record in got] == sorted(record["seq"] for record in got)
        assert all(record in file for record in got)
        assert "correct-horse" not in json.dumps(got)
        assert got[-1]["kind"] == "checkpoint", "the last record comes too"


async def test_a_sink_that_hangs_holds_up_nobody(server: Server) -> None:
    release = threading.Event()

    @server.tool(effect="read")
    def look() -> str:
        return "tea"

    @server.audit_sink
    def stuck(record: dict[str, Any]) -> None:
        assert record
        release.wait(DEADLINE)

    async with server.test_client() as client:
        for _ in range(50):
            assert (await asyncio.wait_for(client.call("look"), DEADLINE)).text == "tea"
        release.set()


# --- Ctrl-C


SCRIPT = """
import asyncio
import sys
import time
from contextlib import asynccontextmanager

from bartizan import Context, Server


@asynccontextmanager
async def lifespan(server):
    yield None
    await asyncio.sleep(0.05)
    print("left", file=sys.stderr, flush=True)


server = Server("script", policy="admin", lifespan=lifespan)


@server.tool(effect="read")
def busy() -> str:
    print("busy", file=sys.stderr, flush=True)
    time.sleep(0.3)
    return "done"


@server.tool(effect="read")
async def waits() -> str:
    await asyncio.sleep(0.3)
    return "done"


@server.audit_sink
def sink(record):
    pass


code = server.run(http="127.0.0.1:0", arguments=["--no-auth"])
print("run returned", code, file=sys.stderr, flush=True)
sys.exit(code)
"""


@pytest.mark.parametrize("with_call", [False, True], ids=["idle", "a call runs"])
def test_ctrl_c_ends_a_script_quietly(with_call: bool, tmp_path: Path) -> None:  # noqa: FBT001
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(path)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        address = next(line.split()[1] for line in process.stderr if line.startswith("serving "))
        if with_call:
            calling = threading.Thread(target=_call, args=(address, "busy"), daemon=True)
            calling.start()
            assert next(line for line in process.stderr if line.startswith("busy"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err, err
    assert "KeyboardInterrupt" not in err, err
    assert "left" in err, err
    assert "run returned 0" in err, err
    assert out == ""


def _call(address: str, tool: str) -> None:
    import urllib.request

    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "pytest", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": meta}}
    request = urllib.request.Request(  # noqa: S310 - the test's own server
        address,
        json.dumps(body).encode(),
        {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        },
    )
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - likewise
        answer.read()


def test_a_process_ends_quietly_while_a_sink_is_busy(tmp_path: Path) -> None:
    script = tmp_path / "busy.py"
    script.write_text(
        "import asyncio, time\n"
        "from bartizan import Server\n"
        "server = Server('office', policy='admin')\n"
        "@server.tool(effect='read')\n"
        "def ask() -> int:\n    return 1\n"
        "@server.audit_sink\n"
        "def ship(record):\n    time.sleep(0.2)\n"
        "async def main():\n"
        "    async with server.test_client() as client:\n"
        "        await client.call('ask')\n"
        "asyncio.run(main())\n"
        "print('done')\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
