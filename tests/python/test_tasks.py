"""Tasks: calls that outlive their request, seen through the public API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bartizan import ConfigError, Context, ProtocolError, Server, Task, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bartizan import TestClient

NEWEST = "2026-07-28"
EXTENSION = "io.modelcontextprotocol/tasks"
TASKS: dict[str, Any] = {"elicitation": {"form": {}}, "extensions": {EXTENSION: {}}}
DEADLINE = 10.0


def with_tasks(server: Server) -> TestClient:
    return server.test_client(revision=NEWEST, capabilities=TASKS)


async def started(client: TestClient, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> str:
    found = await client.request("tools/call", {"name": name, "arguments": arguments or {}, **more})
    assert found["resultType"] == "task", found
    return str(found["taskId"])


async def look(client: TestClient, task: str) -> dict[str, Any]:
    return await client.request("tasks/get", {"taskId": task})


async def until(client: TestClient, task: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async def looking() -> dict[str, Any]:
        while True:
            found = await look(client, task)
            if wanted(found):
                return found
            await asyncio.sleep(0.005)

    return await asyncio.wait_for(looking(), DEADLINE)


async def ended(client: TestClient, task: str, status: str) -> dict[str, Any]:
    return await until(client, task, lambda found: found["status"] == status)


@pytest.mark.parametrize("coroutine", [False, True], ids=["sync", "async"])
async def test_a_tool_with_task_outlives_its_request(server: Server, *, coroutine: bool) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    async def add_later(a: int, b: int) -> int:
        return a + b

    server.add_tool(add_later if coroutine else add, name="add", effect="read", task=True)
    async with with_tasks(server) as client:
        task = await started(client, "add", {"a": 1, "b": 2})
        found = await ended(client, task, "completed")
        assert found["result"]["structuredContent"] == {"result": 3}
        assert found["result"]["isError"] is False
    async with server.test_client(revision=NEWEST, capabilities={}) as client:
        assert (await client.call("add", {"a": 1, "b": 2})).structured == {"result": 3}
        with pytest.raises(ProtocolError):
            await look(client, task)


async def test_a_result_is_there_after_a_restart(server: Server) -> None:
    @server.tool(effect="read", task=True)
    async def answer() -> int:
        return 42

    async with with_tasks(server) as client:
        task = await started(client, "answer")
        await ended(client, task, "completed")
    async with with_tasks(server) as client:
        assert (await look(client, task))["result"]["structuredContent"] == {"result": 42}


async def test_cancelling_a_task_cancels_its_coroutine(server: Server) -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    @server.tool(effect="read", task=True)
    async def sleep() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with with_tasks(server) as client:
        task = await started(client, "sleep")
        await asyncio.wait_for(running.wait(), DEADLINE)
        await client.request("tasks/cancel", {"taskId": task})
        await asyncio.wait_for(cancelled.wait(), DEADLINE)
        await ended(client, task, "cancelled")


async def test_what_was_running_when_the_server_ended_is_not_run_again(server: Server) -> None:
    running = asyncio.Event()
    starts: list[int] = []

    @server.tool(effect="read", task=True)
    async def sleep() -> None:
        starts.append(1)
        running.set()
        await asyncio.Event().wait()

    async with with_tasks(server) as client:
        task = await started(client, "sleep")
        await asyncio.wait_for(running.wait(), DEADLINE)
    async with with_tasks(server) as client:
        found = await look(client, task)
        assert (found["status"], found["error"]["data"]) == ("failed", {"kind": "Internal", "outcome": "unknown"})
    assert starts == [1]


async def test_a_task_asks_while_it_works(server: Server) -> None:
    @server.tool(effect="read", task=True)
    def greet(ctx: Context) -> str:
        ctx.progress(1, message="asking")
        answer = ctx.ask("Your name?", str, key="name")
        return f"Hello, {answer.data}!" if answer else "Hello!"

    async with with_tasks(server) as client:
        task = await started(client, "greet")
        found = await ended(client, task, "input_required")
        assert found["inputRequests"]["name"]["params"]["message"] == "Your name?"
        responses = {"name": {"action": "accept", "content": {"value": "Ann"}}}
        await client.request("tasks/update", {"taskId": task, "inputResponses": responses})
        found = await ended(client, task, "completed")
        assert found["result"]["content"][0]["text"] == "Hello, Ann!"


async def test_a_tool_that_asks_first_says_when_it_is_a_task(server: Server) -> None:
    @server.tool(effect="read", task=Task(asks_first=True))
    async def greet(ctx: Context) -> str:
        answer = await ctx.ask("Your name?", str, key="name")
        await ctx.start_task()
        return f"Hello, {answer.data}!"

    asked: list[str] = []

    def answers(method: str, _params: dict[str, Any]) -> dict[str, Any]:
        asked.append(method)
        return {"action": "accept", "content": {"value": "Ann"}}

    async with server.test_client(answers=answers, revision=NEWEST, capabilities=TASKS) as client:
        task = await started(client, "greet")
        assert asked == ["elicitation/create"]
        found = await ended(client, task, "completed")
        assert found["result"]["content"][0]["text"] == "Hello, Ann!"
    # where there are no tasks, starting one does nothing
    async with server.test_client(answers=answers, revision="2025-11-25") as client:
        assert (await client.call("greet")).text == "Hello, Ann!"


async def test_a_tool_may_refuse_clients_without_tasks(server: Server) -> None:
    @server.tool(effect="read", task=Task(required=True))
    def fail() -> None:
        message = "It did not work."
        raise ToolError(message)

    async with server.test_client(revision=NEWEST, capabilities={}) as client:
        with pytest.raises(ProtocolError) as raised:
            await client.call("fail")
        assert raised.value.detail["code"] == -32021
        assert raised.value.detail["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    async with with_tasks(server) as client:
        found = await ended(client, await started(client, "fail"), "completed")
        assert found["result"]["isError"] is True


async def test_what_is_no_task_is_said_at_the_start(server: Server) -> None:
    server.add_tool(lambda: None, name="odd", task="yes")
    with pytest.raises(ConfigError, match=r"tool 'odd': task must be True, False or a bartizan\.Task"):
        async with server.test_client():
            pass
