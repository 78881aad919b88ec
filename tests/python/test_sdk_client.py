"""The official Python SDK's client, in both eras, over stdio and HTTP."""

from __future__ import annotations

import asyncio
import base64
import importlib
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE = 20.0
HERE = Path(__file__).parent
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@asynccontextmanager
async def over_http(**options: Any) -> AsyncIterator[Client]:
    sys.path.insert(0, str(HERE))
    everything: Any = importlib.import_module("everything")
    everything.hanging, everything.cancelled = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    listening: asyncio.Future[tuple[str, str]] = loop.create_future()
    serving = asyncio.create_task(
        everything.server.serve(http="127.0.0.1:0", ready=lambda *where: listening.set_result(where))
    )
    try:
        await asyncio.wait([serving, listening], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        url, key_file = listening.result()
        key = await asyncio.to_thread(Path(key_file).read_text)
        headers = {"Authorization": f"Bearer {key.strip()}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=DEADLINE) as web,
            Client(streamable_http_client(url, http_client=web), **options) as client,
        ):
            yield client
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=DEADLINE)
        sys.path.remove(str(HERE))


@asynccontextmanager
async def over_stdio(**options: Any) -> AsyncIterator[Client]:
    program = StdioServerParameters(
        command=sys.executable, args=[str(HERE / "everything.py")], env={**os.environ, "PYTHONWARNINGS": "error"}
    )
    async with Client(program, **options) as client:
        yield client


@pytest.fixture(params=["stdio", "http"])
def opened(request: pytest.FixtureRequest) -> Any:
    return over_stdio if request.param == "stdio" else over_http


@pytest.fixture(params=sorted(ERAS))
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_lists_calls_and_typed_errors(opened: Any, era: str) -> None:
    async with opened(mode=era) as client:
        assert client.protocol_version == ERAS[era]
        assert client.server_info.name == "everything"
        assert client.server_info.version == "9.9.9"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "destroy" not in tools
        assert tools["add"].input_schema["required"] == ["a"]
        assert tools["add"].output_schema is not None

        added = await client.call_tool("add", {"a": 1})
        assert added.structured_content == {"total": 3}
        assert not added.is_error

        failed = await client.call_tool("fail", {})
        assert failed.is_error
        assert "the words of the tool" in failed.content[0].text

        wrong = await client.call_tool("add", {"a": "hunter2"})
        assert wrong.is_error
        assert "/a" in wrong.content[0].text
        assert "hunter2" not in wrong.content[0].text

        with pytest.raises(MCPError) as caught:
            await client.call_tool("destroy", {})
        assert caught.value.error.code == -32602


async def test_progress_and_logs(opened: Any, era: str) -> None:
    steps: list[tuple[float, float | None, str | None]] = []
    logs: asyncio.Queue[Any] = asyncio.Queue()

    async def progress(value: float, total: float | None, message: str | None) -> None:
        steps.append((value, total, message))

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        logs.put_nowait(params.data)

    async with opened(mode=era, logging_callback=hear, log_level="info") as client:
        if era == "legacy":
            with pytest.warns(MCPDeprecationWarning):
                await client.set_logging_level("info")
        result = await client.call_tool("count", {"to": 3}, progress_callback=progress)
        assert result.content[0].text == "counted to 3"
        heard = [await asyncio.wait_for(logs.get(), DEADLINE) for _ in range(3)]
    assert steps == [(1, 3, "number 1"), (2, 3, "number 2"), (3, 3, "number 3")]
    assert heard == ["counted 1", "counted 2", "counted 3"]


async def test_an_elicitation_is_answered(opened: Any, era: str) -> None:
    asked: list[str] = []

    async def answer(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"value": "Ann"})

    async with opened(mode=era, elicitation_callback=answer) as client:
        result = await client.call_tool("greet", {})
    assert result.content[0].text == "Hello, Ann!"
    assert asked == ["What is your name?"]


async def test_resources_prompts_and_completion(opened: Any, era: str) -> None:
    async with opened(mode=era) as client:
        (text,) = (await client.read_resource("note://tea")).contents
        assert text.text == "a note about tea"
        (blob,) = (await client.read_resource("blob://one")).contents
        assert base64.b64decode(blob.blob) == b"\x89PNG"
        assert [item.uri_template for item in (await client.list_resource_templates()).resource_templates] == [
            "note://{name}"
        ]
        with pytest.raises(MCPError):
            await client.read_resource("blob://none")
        prompt = await client.get_prompt("review", {"code": "x"})
        assert prompt.messages[0].content.text == "Review x"
        found = await client.complete(types.PromptReference(name="review"), {"name": "code", "value": "a"})
        assert found.completion.values == ["a1", "a2"]


async def test_a_cancelled_call_cancels_the_tool(opened: Any, era: str) -> None:
    async with opened(mode=era) as client:
        call = asyncio.create_task(client.call_tool("hang", {}))
        assert (await client.call_tool("wait_for", {"what": "hanging"})).content[0].text == "hanging"
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        waiting = client.call_tool("wait_for", {"what": "cancelled"})
        assert (await asyncio.wait_for(waiting, DEADLINE)).content[0].text == "cancelled"


async def test_a_client_that_is_sent_away_comes_back_for_the_answer(opened: Any, era: str) -> None:
    async with opened(mode=era) as client:
        result = await asyncio.wait_for(client.call_tool("patient", {}), DEADLINE)
    assert result.content[0].text == "thank you for coming back"
