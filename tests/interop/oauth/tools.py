"""A server with something to read and something to write."""

from __future__ import annotations

from bartizan import Server

server = Server("guarded", version="1.0.0")


@server.tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


@server.tool(effect="write")
def touch() -> str:
    """Touch."""
    return "touched"
