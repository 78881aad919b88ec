"""The context: saying, asking, knowing."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from bartizan import Context, Field, ProtocolError, Server

if TYPE_CHECKING:
    from collections.abc import Callable

REVISIONS = ["2025-11-25", "2026-07-28"]
DEADLINE = 10.0


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Order:
    what: Annotated[str, "what to buy"]
    count: Annotated[int, Field(minimum=1)] = 1
    size: Size = Size.SMALL
    note: str | None = None


def answering(**contents: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    return lambda _method, _params: {"action": "accept", "content": contents}


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("coroutine", [False, True], ids=["sync", "async"])
async def test_a_tool_asks_and_starts_afresh(server: Server, revision: str, *, coroutine: bool) -> None:
    asked: list[dict[str, Any]] = []
    starts: list[int] = []

    def order(ctx: Context) -> str:
        starts.append(1)
        answer = ctx.ask("What would you like?", Order)
        return f"{answer.data.count} {answer.data.what} {answer.data.size.name}"

    async def order_later(ctx: Context) -> str:
        starts.append(1)
        answer = await ctx.ask("What would you like?", Order)
        return f"{answer.data.count} {answer.data.what} {answer.data.size.name}"

    def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
        asked.append({"method": method, **params})
        return {"action": "accept", "content": {"what": "tea", "size": "l"}}

    server.add_tool(order_later if coroutine else order, name="order", effect="read")
    async with server.test_client(answers=answer, revision=revision) as client:
        result = await client.call("order")
    assert result.text == "1 tea LARGE"
    assert len(starts) == 2
    assert len(asked) == 1
    assert asked[0]["method"] == "elicitation/create"
    properties = asked[0]["requestedSchema"]["properties"]
    assert properties["what"] == {"type": "string", "description": "what to buy"}
    assert properties["count"] == {"type": "integer", "minimum": 1, "default": 1}
    assert properties["size"] == {"type": "string", "enum": ["s", "l"], "default": "s"}
    assert properties["note"]["type"] == "string"
    assert asked[0]["requestedSchema"]["required"] == ["what"]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_several_questions_one_after_the_other(server: Server, revision: str) -> None:
    @server.tool(effect="read")
    def chat(ctx: Context) -> str:
        name = ctx.ask("Your name?", str).data
        sure = ctx.ask(f"Sure, {name}?", bool).data
        color = ctx.ask("Which?", Literal["red", "blue"]).data
        return f"{name} {sure} {color}"

    def answer(_method: str, params: dict[str, Any]) -> dict[str, Any]:
        kind = params["requestedSchema"]["properties"]["value"]
        value = "blue" if "enum" in kind else {"string": "Ann", "boolean": True}[kind["type"]]
        return {"action": "accept", "content": {"value": value}}

    async with server.test_client(answers=answer, revision=revision) as client:
        assert (await client.call("chat")).text == "Ann True blue"


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_person_may_say_no(server: Server, action: str) -> None:
    @server.tool(effect="read")
    def confirm(ctx: Context) -> str:
        answer = ctx.ask("Go on?")
        return f"{bool(answer)} {answer.action} {answer.data}"

    async with server.test_client(answers=lambda _method, _params: {"action": action}) as client:
        assert (await client.call("confirm")).text == f"False {action} None"


async def test_except_exception_does_not_swallow_a_question(server: Server) -> None:
    @server.tool(effect="read")
    def careless(ctx: Context) -> str:
        try:
            return str(ctx.ask("Name?", str).data)
        except Exception:  # noqa: BLE001 - that is the test
            return "swallowed"

    async with server.test_client(answers=answering(value="Ann")) as client:
        assert (await client.call("careless")).text == "Ann"


# proves: answers-checked
async def test_an_answer_that_does_not_fit_never_reaches_the_tool(server: Server) -> None:
    reached = []

    @server.tool(effect="read")
    def count(ctx: Context) -> str:
        reached.append(ctx.ask("How many?", int).data)
        return "counted"

    async with server.test_client(answers=answering(value="hunter2")) as client:
        with pytest.raises(ProtocolError) as caught:
            await client.call("count")
    assert "hunter2" not in f"{caught.value} {caught.value.detail}"
    assert reached == []


@pytest.mark.parametrize("revision", REVISIONS)
async def test_sampling_roots_and_addresses(server: Server, revision: str) -> None:
    @server.tool(effect="read")
    def everything(ctx: Context) -> str:
        found = ctx.ask_all(
            {
                "name": ("Name?", str),
                "model": ctx.form_sample("Hello?", max_tokens=7, temperature=0.5),
                "roots": ctx.form_roots(),
            }
        )
        opened = ctx.ask_url("Log in", "https://example.com/login")
        return f"{found['name'].data} {found['model'].text} {found['roots'][0].uri} {opened.action}"

    seen: dict[str, dict[str, Any]] = {}

    def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
        seen[method] = params or {}
        if method == "sampling/createMessage":
            return {"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"}
        if method == "roots/list":
            return {"roots": [{"uri": "file:///x", "name": "x"}]}
        return {"action": "accept"} if "url" in params else {"action": "accept", "content": {"value": "Ann"}}

    async with server.test_client(answers=answer, revision=revision) as client:
        assert (await client.call("everything")).text == "Ann hi file:///x accept"
    assert seen["sampling/createMessage"]["maxTokens"] == 7
    assert seen["sampling/createMessage"]["temperature"] == 0.5
    assert seen["sampling/createMessage"]["messages"][0]["content"] == {"type": "text", "text": "Hello?"}


async def test_a_client_that_cannot_answer_is_told_so(server: Server) -> None:
    @server.tool(effect="read")
    def ask(ctx: Context) -> str:
        return str(ctx.ask("Name?", str).data)

    async with server.test_client() as client:
        with pytest.raises(ProtocolError) as caught:
            await client.call("ask")
    assert caught.value.kind == "MissingCapability"


@pytest.mark.parametrize("revision", REVISIONS)
async def test_progress_and_logs_are_heard_and_redacted(server: Server, revision: str) -> None:
    secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345"  # noqa: S105 - a made-up one
    logs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    steps: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    @server.tool(effect="read")
    async def work(ctx: Context) -> str:
        await ctx.progress(1, 2, f"half {secret}")
        ctx.progress(2, 2)
        ctx.debug("not wanted")
        ctx.warning({"password": "hunter2", "key": secret, "fine": 1}, logger="worker")
        return "done"

    async with server.test_client(
        notices=lambda notice: loop.call_soon_threadsafe(logs.put_nowait, notice),
        log_level="info",
        revision=revision,
    ) as client:
        await client.call("work", progress=lambda step: loop.call_soon_threadsafe(steps.put_nowait, step))
        first = await asyncio.wait_for(steps.get(), DEADLINE)
        second = await asyncio.wait_for(steps.get(), DEADLINE)
        log = await asyncio.wait_for(logs.get(), DEADLINE)
    assert (first["progress"], first["total"]) == (1, 2)
    assert second["progress"] == 2
    assert "half" in first["message"]
    assert log["params"]["level"] == "warning"
    assert log["params"]["logger"] == "worker"
    assert log["params"]["data"]["fine"] == 1
    assert secret not in f"{first}{log}"
    assert "hunter2" not in f"{log}"


async def test_the_context_knows_the_call(server: Server) -> None:
    @server.tool(effect="read")
    def know(ctx: Context) -> dict[str, Any]:
        return {
            "principal": ctx.principal.kind,
            "scopes": sorted(ctx.principal.scopes),
            "client": ctx.client.name,
            "revision": ctx.revision,
            "meta": ctx.meta.get("io.modelcontextprotocol/protocolVersion"),
            "cancelled": ctx.cancelled,
            "id": bool(ctx.request_id),
        }

    async with server.test_client() as client:
        found = (await client.call("know")).structured
    assert found["principal"] == "local"
    assert "read" in found["scopes"]
    assert found["client"] == "bartizan-client"
    assert found["revision"] == "2026-07-28"
    assert found["meta"] == "2026-07-28"
    assert not found["cancelled"]
    assert found["id"]


async def test_a_form_has_to_be_flat(server: Server) -> None:
    @server.tool(effect="read")
    def ask(ctx: Context) -> str:
        return str(ctx.ask("?", dict[str, int]).data)

    async with server.test_client(answers=answering()) as client:
        assert (await client.call("ask")).is_error
