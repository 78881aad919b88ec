"""A server with one of each, for clients that others wrote. Runs as a program too."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from bartizan import Context, Forbidden, Message, Server, ToolError

server = Server("everything", version="9.9.9", instructions="One of each.")
hanging = asyncio.Event()
cancelled = asyncio.Event()


@dataclass
class Sum:
    """A sum."""

    total: int


@server.tool(effect="read")
def add(a: int, b: int = 2) -> Sum:
    """Add two numbers."""
    return Sum(a + b)


@server.tool(effect="read")
async def count(ctx: Context, to: int) -> str:
    """Count, and say so."""
    for number in range(1, to + 1):
        await ctx.progress(number, to, f"number {number}")
        await ctx.info(f"counted {number}")
    return f"counted to {to}"


@server.tool(effect="read")
def greet(ctx: Context) -> str:
    """Ask for a name."""
    answer = ctx.ask("What is your name?", str)
    return f"Hello, {answer.data}!" if answer else "Hello, stranger!"


@server.tool(effect="read")
def fail() -> str:
    """Fail on purpose."""
    message = "the words of the tool"
    raise ToolError(message)


@server.tool(effect="destroy")
def destroy() -> str:
    """Must never run under the default policy."""
    raise Forbidden


@server.tool(effect="read")
async def hang() -> str:
    """Wait until it is cancelled."""
    hanging.set()
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        cancelled.set()
        raise
    return "never"


@server.tool(effect="read")
async def patient(ctx: Context) -> str:
    """Send the client away, and answer when it may be back."""
    ctx.close_stream()
    await asyncio.sleep(0)
    return "thank you for coming back"


@server.tool(effect="read")
async def wait_for(what: str) -> str:
    """Wait until `hang` is hanging, or was cancelled."""
    await (hanging if what == "hanging" else cancelled).wait()
    return what


@server.resource("note://{name}")
def note(name: str) -> str:
    """Return a note."""
    return f"a note about {name}"


@server.resource("blob://one", mime_type="image/png")
def blob() -> bytes:
    """Return bytes."""
    return b"\x89PNG"


@server.prompt
def review(code: str) -> list[Message]:
    """Review code."""
    return [Message(f"Review {code}")]


@server.completion("review", "code")
def complete(value: str) -> list[str]:
    """Suggest code."""
    return [value + "1", value + "2"]


if __name__ == "__main__":
    sys.exit(server.run())
