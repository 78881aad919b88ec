"""Registration, lists, resources, prompts, completion, lifespan, and the ways to run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from bartizan import (
    ConfigError,
    Contents,
    Context,
    Forbidden,
    Icon,
    Message,
    PromptResult,
    ProtocolError,
    ResourceNotFound,
    Server,
    ToolError,
    _load,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE = 20.0


async def test_a_decorator_returns_the_function_unchanged(server: Server) -> None:
    def plain(a: int) -> int:
        return a + 1

    assert server.tool(plain) is plain
    assert server.tool("named", title="T")(plain) is plain
    assert server.tool()(returned := lambda: "x") is returned
    assert server.prompt(plain) is plain
    assert server.resource("a://{a}")(plain) is plain
    assert plain(1) == 2


async def test_what_was_declared_is_listed(server: Server) -> None:
    @server.tool(
        "add_numbers",
        title="Add",
        effect="read",
        annotations={"read_only_hint": True, "openWorldHint": False},
        icons=[Icon("https://example.com/i.png", "image/png", ["48x48"])],
        meta={"example.com/x": 1},
    )
    def add(a: int, b: int = 2) -> int:
        """Add two numbers.

        Args:
            a: the first
        """
        return a + b

    async with server.test_client() as client:
        (tool,) = await client.tools()
        info = client.info
    assert tool["name"] == "add_numbers"
    assert tool["title"] == "Add"
    assert tool["description"] == "Add two numbers."
    assert tool["annotations"] == {"readOnlyHint": True, "openWorldHint": False}
    assert tool["icons"] == [{"src": "https://example.com/i.png", "mimeType": "image/png", "sizes": ["48x48"]}]
    assert tool["_meta"] == {"example.com/x": 1}
    assert tool["inputSchema"]["properties"]["a"] == {"type": "integer", "description": "the first"}
    assert info["_meta"]["io.modelcontextprotocol/serverInfo"]["version"] == "1.2.3"
    assert info["instructions"] == "For tests."


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"])
async def test_clients_of_every_revision_are_served(server: Server, revision: str) -> None:
    @server.tool(effect="read")
    def count(ctx: Context) -> dict[str, int]:
        ctx.progress(1, 2, "half")
        return {"a": 1}

    @server.tool(effect="read")
    def fail() -> str:
        message = "It did not work."
        raise ToolError(message)

    async with server.test_client(revision=revision) as client:
        assert {tool["name"] for tool in await client.tools()} == {"count", "fail"}
        counted = await client.call("count")
        assert json.loads(counted.text) == {"a": 1}
        failed = await client.call("fail")
        assert failed.is_error
        assert "It did not work." in failed.text


async def test_undeclared_effect_is_write_and_read_only_hides_it() -> None:
    server = Server("test")
    server.add_tool(lambda: "w", name="writes")
    server.add_tool(lambda: "r", name="reads", effect="read")
    async with server.test_client() as client:
        assert [tool["name"] for tool in await client.tools()] == ["reads"]
        with pytest.raises(ProtocolError) as caught:
            await client.call("writes")
    assert caught.value.detail["code"] == -32602


async def test_tools_come_and_go_while_it_runs(server: Server) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def hear(notice: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, notice["method"])

    async with server.test_client(notices=hear, revision="2025-11-25") as client:
        server.add_tool(lambda: "here", name="passing", effect="read")
        assert await asyncio.wait_for(heard.get(), DEADLINE) == "notifications/tools/list_changed"
        assert (await client.call("passing")).text == "here"
        server.remove_tool("passing")
        with pytest.raises(ProtocolError):
            await client.call("passing")
        server.add_prompt(lambda: "hi", name="greet")
        assert (await client.prompt("greet"))["messages"][0]["content"]["text"] == "hi"
        server.add_resource(lambda: "r", "r://x", name="r")
        assert (await client.read("r://x"))[0]["text"] == "r"
        server.remove_resource("r")
        with pytest.raises(ProtocolError):
            await client.read("r://x")
    with pytest.raises(KeyError):
        server.remove_tool("passing")


async def test_subscribers_hear_of_changes(server: Server) -> None:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    @server.resource("note://one")
    def note() -> str:
        return "text"

    def hear(notice: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, notice)

    async with server.test_client(notices=hear, revision="2025-11-25") as client:
        await client.request("resources/subscribe", {"uri": "note://one"})
        server.resource_updated("note://one")
        notice = await asyncio.wait_for(heard.get(), DEADLINE)
    assert notice["method"] == "notifications/resources/updated"
    assert notice["params"]["uri"] == "note://one"


async def test_resources_of_every_kind(server: Server) -> None:
    @server.resource("data://text")
    def text() -> str:
        return "words"

    @server.resource("data://bytes", mime_type="image/png", size=3, title="Bytes")
    async def data() -> bytes:
        return b"abc"

    @server.resource("data://{kind}/items/{number}")
    def item(kind: str, number: int, ctx: Context) -> dict[str, Any]:
        if number > 9:
            raise ResourceNotFound
        return {"kind": kind, "number": number, "transport": bool(ctx.transport)}

    @server.resource("data://many")
    def many() -> list[Contents]:
        return [Contents("a", uri="data://a"), Contents(b"b", "text/x", uri="data://b")]

    async with server.test_client() as client:
        assert await client.read("data://text") == [{"uri": "data://text", "mimeType": "text/plain", "text": "words"}]
        assert await client.read("data://bytes") == [{"uri": "data://bytes", "mimeType": "image/png", "blob": "YWJj"}]
        (found,) = await client.read("data://a%20b/items/7")
        assert json.loads(found["text"]) == {"kind": "a b", "number": 7, "transport": True}
        assert found["uri"] == "data://a%20b/items/7"
        assert [part["uri"] for part in await client.read("data://many")] == ["data://a", "data://b"]
        listed = {resource["name"]: resource for resource in await client.resources()}
        assert listed["data"]["size"] == 3
        assert listed["data"]["title"] == "Bytes"
        assert [template["uriTemplate"] for template in await client.templates()] == ["data://{kind}/items/{number}"]
        for missing in ("data://none", "data://k/items/10"):
            with pytest.raises(ProtocolError) as caught:
                await client.read(missing)
            assert caught.value.detail["code"] == -32602


async def test_prompts_and_completion(server: Server) -> None:
    @server.prompt(title="Review")
    def review(code: str, depth: int = 1) -> list[Message]:
        """Review code.

        Args:
            code: what to look at
        """
        return [Message(f"Look at {code}"), Message(f"depth {depth!r}", role="assistant")]

    @server.prompt
    async def explicit() -> PromptResult:
        return PromptResult(["one"], description="D")

    @server.completion("review", "code")
    def complete(value: str, known: dict[str, str]) -> list[str]:
        return [f"{value}{n}{sorted(known)}" for n in range(150)]

    @server.completion("review", "depth")
    async def depths(value: str) -> list[int]:
        return [n for n in (1, 10, 2) if str(n).startswith(value)]

    async with server.test_client() as client:
        found = await client.prompt("review", {"code": "x", "depth": "3"})
        assert [message["role"] for message in found["messages"]] == ["user", "assistant"]
        assert found["messages"][1]["content"]["text"] == "depth 3"
        assert (await client.prompt("explicit"))["description"] == "D"
        values = await client.complete("review", "code", "a", {"depth": "1"})
        assert values[0] == "a0['depth']"
        assert len(values) == 100
        assert await client.complete("review", "depth", "1") == ["1", "10"]
        listed = {prompt["name"]: prompt for prompt in await client.prompts()}
        assert listed["review"]["arguments"] == [
            {"name": "code", "description": "what to look at", "required": True},
            {"name": "depth", "required": False},
        ]
        with pytest.raises(ProtocolError):
            await client.prompt("review", {"code": "x", "depth": "many"})


async def test_registration_mistakes_are_named(server: Server) -> None:
    server.resource("x://{a}")(lambda b: b)
    with pytest.raises(ConfigError, match="no such parameter"):
        async with server.test_client():
            pass
    other = Server("other")
    other.completion("nothing", "x")(lambda value: [value])
    with pytest.raises(ConfigError, match="'nothing'"):
        async with other.test_client():
            pass


@pytest.mark.parametrize(
    "config, words",
    [
        ({"polcy": "admin"}, "policy"),
        ({"limits": {"read": {"per_minute": "many"}}}, "config"),
        ({"policy": None}, "TOML"),
    ],
)
async def test_a_wrong_configuration_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with Server("test", config=config).test_client():
            pass


async def test_limits_and_policy_of_the_configuration_hold() -> None:
    server = Server("test", config={"policy": "standard", "limits": {"read": {"per_minute": 1, "burst": 2}}})
    server.add_tool(lambda: "r", name="reads", effect="read")
    server.add_tool(lambda: "d", name="destroys", effect="destroy")
    async with server.test_client() as client:
        results = [await client.call("reads") for _ in range(3)]
        assert [result.is_error for result in results] == [False, False, True]
        assert results[2].structured["error"]["kind"] == "RateLimited"
        with contextlib.suppress(ProtocolError):
            refused = await client.call("destroys")
            assert refused.structured["error"]["kind"] == Forbidden.kind


async def test_the_lifespan_is_entered_and_left() -> None:
    story: list[str] = []

    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[dict[str, str]]:
        story.append(f"enter {server.name}")
        yield {"db": "open"}
        story.append("leave")

    server = Server("alive", lifespan=lifespan)

    @server.tool(effect="read")
    def state(ctx: Context) -> str:
        story.append("call")
        return str(ctx.state["db"])

    async with server.test_client() as client:
        assert (await client.call("state")).text == "open"
    assert story == ["enter alive", "call", "leave"]


async def test_serve_runs_in_the_running_loop_until_it_is_cancelled() -> None:
    server = Server("http")
    mine = asyncio.get_running_loop()

    @server.tool(effect="read")
    async def whose() -> bool:
        return asyncio.get_running_loop() is mine

    listening: asyncio.Future[str] = mine.create_future()
    serving = asyncio.create_task(
        server.serve(http="127.0.0.1:0", no_auth=True, ready=lambda url, _key: listening.set_result(url))
    )
    url = await asyncio.wait_for(listening, DEADLINE)
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "whose", "arguments": {}, "_meta": meta},
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "whose",
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - loopback

    def send() -> Any:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    answer = await asyncio.to_thread(send)
    assert answer["result"]["structuredContent"] == {"result": True}
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, DEADLINE)


SCRIPT = """
import sys
from bartizan import Server
server = Server("script")

@server.tool(effect="read")
def shout(text: str) -> str:
    print("to standard output, on purpose")
    return text.upper()

@server.tool(effect="read")
async def later(text: str) -> str:
    return text[::-1]

if __name__ == "__main__":
    sys.exit(server.run())
"""


def lines(*messages: dict[str, Any]) -> str:
    return "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)


HELLO = lines(
    {
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    },
    {"method": "notifications/initialized"},
    {"id": 2, "method": "tools/call", "params": {"name": "shout", "arguments": {"text": "a"}}},
    {"id": 3, "method": "tools/call", "params": {"name": "later", "arguments": {"text": "ab"}}},
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script_server.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("through", ["run", "serve"])
def test_stdio_carries_the_protocol_and_nothing_else(script: Path, through: str) -> None:
    command = [str(script)] if through == "run" else ["-m", "bartizan", "serve", "--tools", str(script)]
    done = subprocess.run(
        [sys.executable, *command], input=HELLO, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = {answer["id"]: answer for answer in map(json.loads, done.stdout.splitlines())}
    assert answers[2]["result"]["content"][0]["text"] == "A"
    assert answers[3]["result"]["content"][0]["text"] == "ba"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(script: Path, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, str(script), "--http", "127.0.0.1:0", "--no-auth"], stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        while "serving http://" not in (line := server.stderr.readline()):
            assert line, "it ended before it served"
        server.send_signal(number)
        server.stderr.read()
        assert server.wait(DEADLINE) == 0


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bartizan", *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )

    assert run("--version").returncode == 0
    missing = run("serve", "--tools", str(tmp_path / "none.py"))
    assert missing.returncode == 2
    assert "there is no such file" in missing.stderr
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('hunter2')")
    failed = run("serve", "--tools", str(broken))
    assert failed.returncode == 2
    assert "importing it raised RuntimeError" in failed.stderr


def test_servers_are_found_in_files_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "from bartizan import Server\nfirst = Server('first')\n"
    (tmp_path / "one_server.py").write_text(text)
    (tmp_path / "two_servers.py").write_text(text + "second = Server('second')\n")
    (tmp_path / "no_server.py").write_text("")
    assert _load.load("one_server").name == "first"
    assert _load.load(str(tmp_path / "one_server.py")).name == "first"
    assert _load.load("two_servers:second").name == "second"
    for target, words in (
        ("two_servers", "several servers"),
        ("no_server", "no bartizan.Server"),
        ("two_servers:third", "'third' there is no"),
        ("nowhere_at_all", "ModuleNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=words):
            _load.load(target)


def test_importing_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import bartizan; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert set(done.stdout.split()) <= {"bartizan", "__future__"}


BUSY = """
import asyncio, threading, time
from bartizan import Server

server = Server("busy")
gate = threading.Event()

@server.tool(effect="read")
def waits() -> str:
    gate.wait(30)
    return "waited"

@server.tool(effect="read")
async def quick() -> str:
    await asyncio.sleep(0)
    return "quick"

@server.tool(effect="read")
async def opens() -> str:
    gate.set()
    return "opened"

@server.tool(effect="read")
def counts() -> int:
    return sum(thread.name.startswith("bartizan") for thread in threading.enumerate())
"""


async def test_more_slow_tools_than_threads_wait_their_turn_and_nobody_else_does() -> None:
    space: dict[str, Any] = {}
    exec(BUSY, space)  # noqa: S102 - a server as a user writes it
    async with space["server"].test_client() as client:
        slow = [asyncio.ensure_future(client.call("waits")) for _ in range(48)]
        # Async tools have a loop of their own: no thread that waits can hold them up.
        assert (await client.call("quick")).text == "quick"
        assert not any(task.done() for task in slow)
        assert (await client.call("opens")).text == "opened"
        answers = await asyncio.gather(*slow)
        assert {answer.text for answer in answers} == {"waited"}
        assert (await client.call("counts")).structured["result"] <= 34
