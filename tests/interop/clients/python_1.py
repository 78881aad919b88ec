"""The last Python SDK 1.x as a client."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import behaviours
from behaviours import NotOffered, Result, Walk, asked
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[ClientSession]:
    """Connect as asked."""
    if asked["transport"] == "stdio":
        command, *arguments = asked["command"]
        streams: Any = stdio_client(StdioServerParameters(command=command, args=arguments))
    else:
        streams = streamablehttp_client(asked["url"], headers={"Authorization": f"Bearer {asked['key']}"})
    async with streams as (read, write, *_), ClientSession(read, write, **options) as session:
        yield session


class Adapter(behaviours.Client):
    """The SDK, in the words of the behaviours."""

    def __init__(self, client: ClientSession, revision: str) -> None:
        self.client, self.agreed = client, revision
        self.numbers: dict[asyncio.Task[Any] | None, int] = {}

    def revision(self) -> str | None:
        return self.agreed

    async def names(self, what: str) -> list[str]:
        if what == "resources":
            return [str(one.uri) for one in (await self.client.list_resources()).resources]
        if what == "prompts":
            return [one.name for one in (await self.client.list_prompts()).prompts]
        return [one.name for one in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any], progress: Any = None) -> Result:
        self.numbers[asyncio.current_task()] = self.client._request_id
        result = await self.client.call_tool(tool, arguments, progress_callback=progress)
        return Result(result.content[0].text, result.structuredContent, result.isError)

    async def read(self, uri: str) -> str:
        return (await self.client.read_resource(uri)).contents[0].text

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return (await self.client.get_prompt(name, arguments)).messages[0].content.text

    def code(self, error: Exception) -> int | None:
        return error.error.code if isinstance(error, McpError) else None

    async def give_up(self, call: asyncio.Task[Any]) -> None:
        # This generation tells the server nothing when a call is given up; a program sends the notification itself.
        params = types.CancelledNotificationParams(requestId=self.numbers[call])
        await self.client.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        await super().give_up(call)

    async def task(self) -> None:
        raise NotOffered("it knows only the experimental tasks that 2025-11-25 had, which the extension replaces")


async def answer(_context: Any, _params: types.ElicitRequestParams) -> types.ElicitResult:
    """Answer every question."""
    return types.ElicitResult(action="accept", content={"value": "Ann"})


async def main() -> None:
    """Connect and go."""
    async with opened(elicitation_callback=answer) as client:
        greeting = await client.initialize()
        await Walk(Adapter(client, str(greeting.protocolVersion))).all()


if __name__ == "__main__":
    asyncio.run(main())
