"""The server that every client meets: ``python server.py FOLDER [flags of bartizan serve]``.

Owns one of each thing that a client can use, and a journal. The idea: written against the public Python API and nothing
else; what a tool lived through is a line in FOLDER/journal, so that a client's word for it is not needed.
Must not: know which client it serves, or anything of the wire.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bartizan import Context, Message, Server, Task, ToolError

FOLDER = Path(sys.argv[1])
server = Server("interop", version="1.2.3", instructions="One of each.")
begun: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
stopped: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def note(event: str, label: str) -> None:
    """Write a line into the journal."""
    with (FOLDER / "journal").open("a") as journal:
        journal.write(f"{event} {label}\n")


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
        # The TypeScript SDKs drop progress that is read together with the answer, so counting takes its time.
        await asyncio.sleep(0.1)
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


@server.tool(effect="read", timeout=60)
async def hang(label: str) -> str:
    """Wait until it is cancelled."""
    note("started", label)
    begun[label].set()
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        note("cancelled", label)
        stopped[label].set()
        raise
    return "never"


@server.tool(effect="read", timeout=60)
async def witness(label: str, what: str) -> str:
    """Wait until `hang` has started, or was cancelled."""
    await (begun if what == "started" else stopped)[label].wait()
    note(f"witnessed-{what}", label)
    return what


@server.tool(effect="read", task=Task(required=True))
async def brew(cups: int, label: str) -> str:
    """Be a task, or refuse, until somebody pours, which another process can do as well."""
    note("brewing", label)
    while not (FOLDER / f"poured-{label}").exists():
        await asyncio.sleep(0.05)
    return f"{cups} cups"


@server.tool(effect="read")
async def pour(label: str) -> str:
    """Let the task of this label end."""
    (FOLDER / f"poured-{label}").touch()
    return "poured"


@server.resource("note://{name}", mime_type="text/plain")
def note_about(name: str) -> str:
    """Return a note."""
    return f"a note about {name}"


@server.resource("note://menu/today", mime_type="text/plain")
def menu() -> str:
    """What there is."""
    return "tea"


@server.prompt
def review(code: str) -> list[Message]:
    """Review code."""
    return [Message(f"Review {code}")]


if __name__ == "__main__":
    os.environ["BARTIZAN_STATE_DIR"] = str(FOLDER / "state")
    sys.exit(server.run(arguments=sys.argv[2:]))
