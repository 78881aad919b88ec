"""What tools take and return, and what happens when they misbehave."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime
import threading
import time
from typing import TYPE_CHECKING, Any, TypedDict

import pydantic
import pytest
from bartizan import (
    Audio,
    ConfigError,
    Context,
    EmbeddedResource,
    Image,
    ResourceLink,
    Server,
    Text,
    ToolError,
    ToolResult,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 10.0


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Report(TypedDict):
    name: str
    size: int


class Model(pydantic.BaseModel):
    name: str


async def call(server: Server, name: str, **arguments: Any) -> Any:
    async with server.test_client() as client:
        return await client.call(name, arguments)


def returns(value: Any) -> Callable[[], Any]:
    return lambda: value


async def test_arguments_arrive_as_the_declared_types(server: Server) -> None:
    seen: list[Any] = []

    @server.tool(effect="read")
    def take(point: Point, when: datetime.date, ratio: float, tags: set[str], /, note: str | None = None) -> str:
        seen.extend([point, when, ratio, tags, note])
        return "taken"

    result = await call(server, "take", point={"x": 1}, when="2026-07-28", ratio=2, tags=["a"])
    assert not result.is_error, result.text
    assert seen == [Point(1, 0), datetime.date(2026, 7, 28), 2.0, {"a"}, None]
    assert type(seen[2]) is float


async def test_arguments_are_checked_before_the_tool_runs(server: Server) -> None:
    ran = []

    @server.tool(effect="read")
    def take(n: int) -> str:
        ran.append(n)
        return ""

    for arguments in ({"n": "hunter2"}, {}, {"n": 1, "hunter2": 1}, {"n": 1.5}):
        result = await call(server, "take", **arguments)
        assert result.is_error
        assert "hunter2" not in result.text
    assert ran == []


@pytest.mark.parametrize(
    "schema, closed",
    [
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, True),
        ({"type": "object", "allOf": [{"properties": {"n": {"type": "integer"}}}]}, True),
        ({"type": "object"}, True),
        ({"type": "object", "properties": {"n": {}}, "additionalProperties": True}, False),
    ],
    ids=["named", "composed", "bare", "open by its own word"],
)
async def test_a_schema_of_ones_own_refuses_what_it_does_not_name(
    server: Server, schema: dict[str, Any], *, closed: bool
) -> None:
    ran = []

    @server.tool(effect="read", input_schema=schema)
    def take(n: int) -> str:
        ran.append(n)
        return "taken"

    async with server.test_client() as client:
        (tool,) = await client.tools()
        said = tool["inputSchema"]
        assert (False in (said.get("additionalProperties"), said.get("unevaluatedProperties"))) is closed
        assert (await client.call("take", {"n": 1})).text == "taken"
        refused = await client.call("take", {"n": 1, "hunter2": 2})
        assert refused.is_error
        assert "hunter2" not in refused.text
        if closed:
            assert refused.structured["error"]["kind"] == "BadArguments", "before the function is reached"
    assert ran == [1]


async def test_a_value_that_passes_its_schema_but_is_none_of_the_type_is_refused_by_path(server: Server) -> None:
    @server.tool(effect="read")
    def take(when: list[datetime.datetime]) -> str:
        return f"{when}"

    result = await call(server, "take", when=["hunter2"])
    assert result.is_error
    assert "/when/0" in result.text
    assert "hunter2" not in result.text


@pytest.mark.parametrize(
    "value, content",
    [
        ("text", [{"type": "text", "text": "text"}]),
        (None, []),
        (7, [{"type": "text", "text": "7"}]),
        ({"a": [1, None]}, [{"type": "text", "text": '{"a": [1, null]}'}]),
        (Image(b"abc"), [{"type": "image", "data": "YWJj", "mimeType": "image/png"}]),
        (Audio(b"abc", "audio/mpeg"), [{"type": "audio", "data": "YWJj", "mimeType": "audio/mpeg"}]),
        (ResourceLink("a://b", "b"), [{"type": "resource_link", "uri": "a://b", "name": "b"}]),
        (
            EmbeddedResource("a://b", b"abc"),
            [{"type": "resource", "resource": {"uri": "a://b", "blob": "YWJj"}}],
        ),
        (
            ["one", Image(b"abc"), {"n": 1}],
            [
                {"type": "text", "text": "one"},
                {"type": "image", "data": "YWJj", "mimeType": "image/png"},
                {"type": "text", "text": '{"n": 1}'},
            ],
        ),
        (Text("t", {"audience": ["user"]}), [{"type": "text", "text": "t", "annotations": {"audience": ["user"]}}]),
        (
            b"abc",
            [
                {
                    "type": "resource",
                    "resource": {
                        "uri": "data:application/octet-stream",
                        "mimeType": "application/octet-stream",
                        "blob": "YWJj",
                    },
                }
            ],
        ),
    ],
    ids=lambda item: type(item).__name__,
)
async def test_what_a_tool_returns_becomes_content(server: Server, value: Any, content: list[Any]) -> None:
    server.add_tool(returns(value), name="give", effect="read")
    result = await call(server, "give")
    assert not result.is_error, result.text
    assert result.content == content


async def test_declared_results_are_structured(server: Server) -> None:
    @server.tool(effect="read")
    def record() -> Point:
        return Point(1, 2)

    @server.tool(effect="read")
    def typed() -> Report:
        return {"name": "a", "size": 1}

    @server.tool(effect="read")
    def model() -> Model:
        return Model(name="a")

    @server.tool(effect="read")
    async def numbers() -> list[int]:
        return [1, 2]

    @server.tool(effect="read", output_schema=False)
    def plain() -> Point:
        return Point(1)

    @server.tool(effect="read")
    def explicit() -> ToolResult:
        return ToolResult("no", structured={"why": "because"}, is_error=True)

    async with server.test_client() as client:
        assert (await client.call("record")).structured == {"x": 1, "y": 2}
        assert (await client.call("typed")).structured == {"name": "a", "size": 1}
        assert (await client.call("model")).structured == {"name": "a"}
        assert (await client.call("numbers")).structured == {"result": [1, 2]}
        assert (await client.call("plain")).structured is None
        refused = await client.call("explicit")
        assert (refused.is_error, refused.text, refused.structured) == (True, "no", {"why": "because"})
        listed = {tool["name"]: tool for tool in await client.tools()}
    assert listed["numbers"]["outputSchema"]["properties"]["result"]["items"] == {"type": "integer"}
    assert "outputSchema" not in listed["plain"]


async def test_a_tool_error_shows_its_words_redacted(server: Server) -> None:
    @server.tool(effect="read")
    def fail() -> str:
        message = "no such port; key ghp_0123456789abcdefghijABCDEFGHIJ012345"
        raise ToolError(message)

    result = await call(server, "fail")
    assert result.is_error
    assert "no such port" in result.text
    assert "ghp_" not in result.text


class Loop:
    def __init__(self) -> None:
        self.loop = [self]


HOSTILE: dict[str, Callable[[], Any]] = {}


def hostile(function: Callable[[], Any]) -> Callable[[], Any]:
    HOSTILE[function.__name__] = function
    return function


@hostile
def raises() -> None:
    message = "hunter2"
    raise ValueError(message)


@hostile
def exits() -> None:
    raise SystemExit(3)


@hostile
def interrupts() -> None:
    raise KeyboardInterrupt


@hostile
def returns_an_object() -> Any:
    return Loop()


@hostile
def returns_a_loop() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@hostile
def returns_nan() -> Any:
    return {"n": float("nan")}


@hostile
def returns_a_surrogate() -> Any:
    return "\ud800"


@hostile
def returns_a_huge_number() -> Any:
    return ToolResult(structured={"n": 10**100})


@hostile
def recurses() -> Any:
    return recurses()


@pytest.mark.parametrize("name", sorted(HOSTILE))
@pytest.mark.parametrize("coroutine", [False, True], ids=["sync", "async"])
async def test_a_tool_that_misbehaves_fails_alone(server: Server, name: str, *, coroutine: bool) -> None:
    function = HOSTILE[name]

    async def later() -> Any:
        return function()

    server.add_tool(later if coroutine else function, name="bad", effect="read")
    server.add_tool(returns("fine"), name="good", effect="read")
    async with server.test_client() as client:
        result = await client.call("bad")
        assert result.is_error
        assert "hunter2" not in result.text
        assert "failed unexpectedly" in result.text
        assert (await client.call("good")).text == "fine"


async def test_a_tool_that_hangs_is_given_up_and_the_others_go_on(server: Server) -> None:
    release = threading.Event()

    @server.tool(effect="read", timeout=0.2)
    def hang() -> str:
        release.wait(DEADLINE)
        return "late"

    server.add_tool(returns("fine"), name="good", effect="read")
    async with server.test_client() as client:
        hung = [asyncio.create_task(client.call("hang")) for _ in range(8)]
        assert (await client.call("good")).text == "fine"
        for result in await asyncio.gather(*hung):
            assert result.is_error
            assert result.structured["error"]["kind"] == "TimedOut"
        assert (await client.call("good")).text == "fine"
    release.set()


async def test_a_timeout_cancels_the_coroutine(server: Server) -> None:
    cancelled = asyncio.Event()

    @server.tool(effect="read", timeout=1.0)
    async def hang() -> str:
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "late"

    result = await call(server, "hang")
    assert result.structured["error"]["kind"] == "TimedOut"
    await asyncio.wait_for(cancelled.wait(), DEADLINE)


async def test_a_cancel_reaches_coroutine_and_thread(server: Server) -> None:
    running = asyncio.Event()
    loop = asyncio.get_running_loop()
    cancelled = asyncio.Event()
    noticed = threading.Event()

    @server.tool(effect="read")
    async def wait() -> str:
        running.set()
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "late"

    @server.tool(effect="read")
    def poll(ctx: Context) -> str:
        loop.call_soon_threadsafe(running.set)
        end = time.monotonic() + DEADLINE
        while not ctx.cancelled and time.monotonic() < end:
            threading.Event().wait(0.01)
        noticed.set()
        return "late"

    async with server.test_client() as client:
        for name in ("wait", "poll"):
            running.clear()
            task = asyncio.create_task(client.call(name))
            await asyncio.wait_for(running.wait(), DEADLINE)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, Exception)):
                await task
        await asyncio.wait_for(cancelled.wait(), DEADLINE)
        assert await asyncio.to_thread(noticed.wait, DEADLINE)


async def test_slow_sync_tools_run_side_by_side(server: Server) -> None:
    together = threading.Barrier(4, timeout=DEADLINE)

    @server.tool(effect="read")
    def meet() -> str:
        together.wait()
        return "met"

    async with server.test_client() as client:
        results = await asyncio.gather(*(client.call("meet") for _ in range(4)))
    assert [result.text for result in results] == ["met"] * 4


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


async def test_context_variables_survive(server: Server) -> None:
    @server.tool(effect="read")
    def sync() -> str:
        before = VARIABLE.get()
        VARIABLE.set("changed")
        return before

    @server.tool(effect="read")
    async def coroutine() -> str:
        before = VARIABLE.get()
        VARIABLE.set("changed")
        return before

    VARIABLE.set("set")
    async with server.test_client() as client:
        for _ in range(2):
            assert (await client.call("sync")).text == "set"
            assert (await client.call("coroutine")).text == "set"


async def test_thread_local_state_survives_from_call_to_call(server: Server) -> None:
    local = threading.local()

    @server.tool(effect="read")
    def count() -> str:
        local.n = getattr(local, "n", 0) + 1
        return str(local.n)

    async with server.test_client() as client:
        counts = [int((await client.call("count")).text) for _ in range(200)]
    assert max(counts) > 1


async def test_wrong_details_are_refused_by_name(server: Server) -> None:
    server.add_tool(returns("x"), name="odd", effect="maybe")
    with pytest.raises(ConfigError, match="tool 'odd': effect must be"):
        await call(server, "odd")
    with pytest.raises(ConfigError, match="tool 'odd' is registered twice"):
        server.add_tool(returns("x"), name="odd")
