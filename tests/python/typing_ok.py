"""What users write, checked strictly by mypy and then run: the public API is typed as it reads."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import bartizan
from bartizan import Context, Field, Image, Message, Redactor, Server, Task, ToolError
from bartizan.logging import RedactingFilter

server = Server("typed", policy="admin")


@dataclass
class Port:
    """A port."""

    name: str
    speed: int = 10


@server.tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool("ports", effect="read", timeout=5.0, scopes=["read"])
async def list_ports(
    ctx: Context, limit: Annotated[int, Field(minimum=1, maximum=9)] = 5, kind: Literal["a", "b"] = "a"
) -> list[Port]:
    """List ports."""
    await ctx.progress(1, 1)
    await ctx.close_stream()
    ctx.info(kind)
    if limit > 8:
        message = "too many"
        raise ToolError(message)
    return [Port(f"p{number}") for number in range(limit)]


@server.tool(effect="read")
def draw() -> list[str | Image]:
    """Draw."""
    return ["a picture", Image(b"")]


@server.tool(effect="read", task=True)
async def wait(seconds: float = 0) -> None:
    """Wait."""
    await asyncio.sleep(seconds)


@server.tool(effect="read", task=Task(required=False, asks_first=True))
async def wait_if_asked(ctx: Context) -> bool:
    """Ask whether to wait."""
    await ctx.start_task()
    return True


@server.resource("port://{name}", mime_type="application/json")
def port(name: str) -> dict[str, Any]:
    """Return a port."""
    return {"name": name}


@server.prompt(title="Review")
def review(name: str) -> list[Message]:
    """Review a port."""
    return [Message(f"Review {name}", role="user")]


@server.completion("review", "name")
def names(value: str) -> list[str]:
    """Suggest names."""
    return [value]


@server.guard
def no_more_than_a_thousand(principal: bartizan.Principal, tool: str, arguments: dict[str, Any]) -> str | None:
    """Deny large sums."""
    return "deny" if tool == "add" and arguments.get("a", 0) > 1000 and principal.tenant is None else None


@server.guard(timeout=1)
async def patient(effect: str) -> None:
    """Have no objection."""
    assert effect in ("read", "write", "destroy")
    await asyncio.sleep(0)


@server.audit_sink
def forget(record: dict[str, Any]) -> None:
    """Take a record."""
    record.clear()


async def main() -> None:
    """Use it all."""
    total: int = add(1, 2)  # the function is unchanged, types and all
    assert total == 3
    async with server.test_client() as client:
        assert (await client.call("add", {"a": 1, "b": 2})).structured == {"result": 3}
        assert len((await client.call("ports", {"limit": 2})).structured["result"]) == 2
        assert (await client.call("wait_if_asked")).structured == {"result": True}
        assert (await client.read("port://x"))[0]["mimeType"] == "application/json"
        assert (await client.complete("review", "name", "a")) == ["a"]


def run() -> None:
    """Run everything."""
    asyncio.run(main())
    text: str = Redactor(pii=["email"]).text("nothing to hide")
    assert text == "nothing to hide"
    assert RedactingFilter().redactor.data({"password": "hunter2"}) != {"password": "hunter2"}
    limiter = bartizan.RateLimiter(60, burst=1)
    limiter.take("key")
    with contextlib.suppress(bartizan.RateLimited):
        limiter.take("key")
    left: int = limiter.left("key")
    assert left == 0


if __name__ == "__main__":
    run()
