"""The Python SDK 2.x as a client, in either era."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import behaviours
import httpx2
from behaviours import PATIENCE, NotOffered, Result, Walk, asked
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[Client]:
    """Connect as asked."""
    if asked["transport"] == "stdio":
        command, *arguments = asked["command"]
        async with Client(StdioServerParameters(command=command, args=arguments), **options) as client:
            yield client
    else:
        headers = {"Authorization": f"Bearer {asked['key']}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as web,
            Client(streamable_http_client(asked["url"], http_client=web), **options) as client,
        ):
            yield client


class Adapter(behaviours.Client):
    """The SDK, in the words of the behaviours."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def revision(self) -> str | None:
        return self.client.protocol_version

    async def names(self, what: str) -> list[str]:
        if what == "resources":
            return [str(one.uri) for one in (await self.client.list_resources()).resources]
        if what == "prompts":
            return [one.name for one in (await self.client.list_prompts()).prompts]
        return [one.name for one in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any], progress: Any = None) -> Result:
        result = await self.client.call_tool(tool, arguments, progress_callback=progress)
        return Result(result.content[0].text, result.structured_content, bool(result.is_error))

    async def read(self, uri: str) -> str:
        return (await self.client.read_resource(uri)).contents[0].text

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return (await self.client.get_prompt(name, arguments)).messages[0].content.text

    def code(self, error: Exception) -> int | None:
        return error.error.code if isinstance(error, MCPError) else None

    async def task(self) -> None:
        raise NotOffered("the SDK brings no client for tasks, only the place where one is put in")


async def answer(_context: Any, _params: types.ElicitRequestParams) -> types.ElicitResult:
    """Answer every question."""
    return types.ElicitResult(action="accept", content={"value": "Ann"})


async def main() -> None:
    """Connect and go."""
    async with opened(mode=asked["era"], elicitation_callback=answer) as client:
        await Walk(Adapter(client)).all()


if __name__ == "__main__":
    asyncio.run(main())
