"""FastMCP 4 as a client, with its companion package for tasks, in either era."""

from __future__ import annotations

import asyncio
from typing import Any

import behaviours
import mcp_types
from behaviours import NotOffered, Result, Walk, asked, label, same
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp_tasks import call_tool_task
from mcp import MCPError


def opened(**options: Any) -> Client[Any]:
    """Connect as asked."""
    if asked["transport"] == "stdio":
        command, *arguments = asked["command"]
        return Client(StdioTransport(command=command, args=arguments, keep_alive=False), **options)
    headers = {"Authorization": f"Bearer {asked['key']}"}
    return Client(StreamableHttpTransport(asked["url"], headers=headers), **options)


class Adapter(behaviours.Client):
    """The SDK, in the words of the behaviours."""

    def __init__(self, client: Client[Any]) -> None:
        self.client = client

    def revision(self) -> str | None:
        return self.client.protocol_version

    async def names(self, what: str) -> list[str]:
        if what == "resources":
            return [str(one.uri) for one in await self.client.list_resources()]
        if what == "prompts":
            return [one.name for one in await self.client.list_prompts()]
        return [one.name for one in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any], progress: Any = None) -> Result:
        result = await self.client.call_tool(tool, arguments, progress_handler=progress, raise_on_error=False)
        return Result(result.content[0].text, result.structured_content, result.is_error)

    async def read(self, uri: str) -> str:
        return (await self.client.read_resource(uri))[0].text

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return (await self.client.get_prompt(name, arguments)).messages[0].content.text

    def code(self, error: Exception) -> int | None:
        return error.error.code if isinstance(error, MCPError) else None

    async def task(self) -> None:
        if asked["era"] == "legacy":
            raise NotOffered("its tasks are for 2026-07-28 only")
        brewing = await call_tool_task(self.client, "brew", {"cups": 2, "label": label})
        same((await brewing.status()).status, "working")
        await self.client.call_tool("pour", {"label": label})
        same((await brewing.result()).content[0].text, "2 cups")


async def answer(_message: str, _type: Any, _params: Any, _context: Any) -> mcp_types.ElicitResult:
    """Answer every question."""
    return mcp_types.ElicitResult(action="accept", content={"value": "Ann"})


async def main() -> None:
    """Connect and go."""
    async with opened(mode=asked["era"], elicitation_handler=answer) as client:
        await Walk(Adapter(client)).all()


if __name__ == "__main__":
    asyncio.run(main())
