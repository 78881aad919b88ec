"""The echo tool of the peers, on our public Python API."""

from __future__ import annotations

from bartizan import Server

server = Server("echo")


@server.tool(effect="read")
def echo(message: str, repeat: int | None = None) -> str:  # noqa: ARG001 - the peers' signature
    """Echo a message."""
    return message


if __name__ == "__main__":
    server.run()
