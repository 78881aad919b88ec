"""A freeze from the command line, as scripts and tools that run meet it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import bartizan
import pytest
from bartizan import Context, Server
from commands import PATIENCE, run

if TYPE_CHECKING:
    from collections.abc import Callable

# A process looks at the switch a few times a second. The promise is one second, which `tests/rust/freeze.rs` measures;
# this is for a busy machine.
SOON = 20.0


def named(api: bartizan.API, effect: str) -> str:
    """Return an operation with that effect."""
    return next(
        str(tool["name"])
        for tool in api.tools()
        if tool["effect"] == effect and "port" in tool["name"] and not tool["inputSchema"].get("required")
    )


def outcome(call: Callable[[], object]) -> str:
    """Return the name of the refusal, or `done`."""
    try:
        call()
    except bartizan.BartizanError as error:
        return type(error).__name__
    return "done"


def stops(call: Callable[[], object]) -> bool:
    """Say whether calls are refused as frozen soon, and stay so."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if outcome(call) == "Frozen":
            return outcome(call) == "Frozen"
    return False


def test_a_script_that_is_connected_stops_when_everything_is_frozen() -> None:
    with bartizan.connect("equinix", practice=True) as api:
        name = named(api, "read")
        assert api.call(name)
        assert run("freeze", "writes").code == 0
        assert api.call(name), "it reads"
        assert run("freeze").code == 0
        assert stops(lambda: api.call(name))
    # and one that is connected later does not begin
    with bartizan.connect("equinix", practice=True) as api, pytest.raises(bartizan.Frozen):
        api.call(name)


async def test_a_tool_gets_nothing_more_done_by_way_of_a_connector_once_writes_are_frozen() -> None:
    config = {"policy": "admin", "practice": True, "connector": [{"name": "equinix"}]}
    server = Server("wrapper", config=config)
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()
    heard: list[str] = []

    @server.tool(effect="write")
    def order(ctx: Context) -> str:
        # a thread cannot be stopped from outside: it runs on
        api = ctx.api("equinix")
        write = next(tool for tool in api.tools() if tool["effect"] == "write")
        begun.set()
        go.wait(PATIENCE)
        read = named(api, "read")
        heard.append(outcome(lambda: api.call(read)))
        heard.append(outcome(lambda: api.call(write["name"], x=1)))
        ended.set()
        return "ordered"

    async with server.test_client() as client:
        calling = asyncio.ensure_future(client.call("order"))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        assert (await asyncio.to_thread(run, "freeze")).code == 0
        stopped = await asyncio.wait_for(calling, PATIENCE)
        assert stopped.is_error
        assert "An operator froze this" in stopped.text
        go.set()
        assert await asyncio.to_thread(ended.wait, PATIENCE)
        assert heard, "the tool ran on"
        assert "done" not in heard, heard
        assert "frozen" in (await client.call("order")).text
