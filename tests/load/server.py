"""The server under load: ``python server.py CONFIG``.

Owns the tools that misbehaving clients use, and counts what became of their calls. The idea: written against the public
Python API; `echo` is the built-in one. Must not: know anything of the wire.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from bartizan import Context, Server

server = Server("load", version="1.0.0")
counts: Counter[str] = Counter(started=0, finished=0, cancelled=0)
KILOBYTE = "All work and no play makes Jack a dull boy. " * 23


@server.tool(effect="read", timeout=60)
async def hang() -> str:
    """Wait until it is cancelled."""
    counts["started"] += 1
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        counts["cancelled"] += 1
        raise
    counts["finished"] += 1
    return "never"


@server.tool(effect="read")
async def large(kilobytes: int) -> str:
    """Return a long text."""
    return KILOBYTE * kilobytes


@server.tool(effect="read", timeout=120)
async def flood(ctx: Context, kilobytes: int, pause: float) -> str:
    """Report progress until it is cancelled."""
    counts["started"] += 1
    message = KILOBYTE * kilobytes
    step = 0
    try:
        while True:
            step += 1
            await ctx.progress(step, None, message)
            await asyncio.sleep(pause)
    except asyncio.CancelledError:
        counts["cancelled"] += 1
        raise


@server.tool(effect="read")
async def touch() -> str:
    """Change what is watched."""
    server.resource_updated("load://watched")
    return "done"


@server.tool(effect="read")
async def tally() -> dict[str, int]:
    """Return what became of the calls that do not end by themselves."""
    return dict(counts)


@server.resource("load://watched", mime_type="text/plain")
def watched() -> str:
    """Return what is watched."""
    return "it"


if __name__ == "__main__":
    sys.exit(server.run(arguments=["--config", sys.argv[1]]))
