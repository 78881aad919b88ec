"""A client in memory, for users' own tests.

Owns :class:`TestClient`. The idea: it speaks the real protocol to the real server over a pipe, so a test sees what a
client would: policy, limits, redaction and all.
Must not: look behind the protocol.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .results import dump
from .waiting import wait

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ._core import AnswerSink, MemoryClient, Running
    from .content import JSON
    from .hosting import Host
    from .server import Server

Answers = Callable[[str, "JSON"], Any]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a tool returned."""

    content: list[JSON]
    structured: Any
    is_error: bool
    meta: JSON

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return "\n".join(item["text"] for item in self.content if item["type"] == "text")


class TestClient:
    """``async with server.test_client() as client: await client.call("add", {"a": 1, "b": 2})``.

    ``answers(method, params)`` answers what the server asks; it may be a coroutine function. ``notices`` hears
    notifications, ``log_level`` asks for log messages.
    """

    __test__ = False  # for pytest: no test case

    def __init__(
        self,
        server: Server,
        *,
        answers: Answers | None = None,
        notices: Callable[[JSON], object] | None = None,
        log_level: str | None = None,
        revision: str | None = None,
        capabilities: Mapping[str, Any] | None = None,
    ) -> None:
        """Open nothing yet."""
        self.server = server
        self._answers = answers
        self._options: JSON = {
            "notices": notices,
            "log_level": log_level,
            "revision": revision,
            "capabilities": None if capabilities is None else dump(capabilities),
        }
        self._host: Host | None = None
        self._running: Running | None = None
        self._client: MemoryClient | None = None

    async def __aenter__(self) -> Self:
        """Start the server and open a conversation."""
        loop = asyncio.get_running_loop()
        self._host = host = self.server._host(loop)  # noqa: SLF001 - the other half of the server
        await host.enter()
        try:
            self._running = running = self.server._start(host)  # noqa: SLF001 - the other half of the server
            answers = None if self._answers is None else self._answer(loop, self._answers)
            options = {**self._options, "answers": answers}
            self._client = await wait(lambda done: running.connect(options, done))
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the conversation and the server."""
        await self._end()

    async def _end(self) -> None:
        client, self._client = self._client, None
        running, self._running = self._running, None
        host, self._host = self._host, None
        try:
            if client is not None:
                await wait(client.close)
            if running is not None:
                await wait(running.close)
        finally:
            if host is not None:
                self.server._detach(host)  # noqa: SLF001 - the other half of the server
                await host.leave()

    @staticmethod
    def _answer(loop: asyncio.AbstractEventLoop, answers: Answers) -> Callable[[str, JSON, AnswerSink], None]:
        async def answer(method: str, params: JSON, sink: AnswerSink) -> None:
            found = answers(method, params)
            sink.done(dump(await found if inspect.isawaitable(found) else found))

        def asked(method: str, params: JSON, sink: AnswerSink) -> None:
            asyncio.run_coroutine_threadsafe(answer(method, params, sink), loop)

        return asked

    @property
    def info(self) -> JSON:
        """What the server said of itself."""
        return self._open().server

    def _open(self) -> MemoryClient:
        if self._client is None:
            message = "the client is not open; use it in `async with`"
            raise RuntimeError(message)
        return self._client

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        progress: Callable[[JSON], object] | None = None,
        timeout: float | None = None,
    ) -> JSON:
        """Send any request and return its result; being cancelled cancels it."""
        client = self._open()
        data = dump(params or {})
        found: JSON = await wait(lambda done: client.request(method, data, done, progress=progress, timeout=timeout))
        return found

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        progress: Callable[[JSON], object] | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Call a tool."""
        params = {"name": name, "arguments": arguments or {}}
        found = await self.request("tools/call", params, progress=progress, timeout=timeout)
        return Result(
            found.get("content", []),
            found.get("structuredContent"),
            bool(found.get("isError", False)),
            found.get("_meta", {}),
        )

    async def _list(self, method: str, key: str) -> list[JSON]:
        items: list[JSON] = []
        params: JSON = {}
        while True:
            page = await self.request(method, params)
            items += page[key]
            if page.get("nextCursor") is None:
                return items
            params = {"cursor": page["nextCursor"]}

    async def tools(self) -> list[JSON]:
        """List the tools."""
        return await self._list("tools/list", "tools")

    async def resources(self) -> list[JSON]:
        """List the resources."""
        return await self._list("resources/list", "resources")

    async def templates(self) -> list[JSON]:
        """List the resource templates."""
        return await self._list("resources/templates/list", "resourceTemplates")

    async def prompts(self) -> list[JSON]:
        """List the prompts."""
        return await self._list("prompts/list", "prompts")

    async def read(self, uri: str) -> list[JSON]:
        """Read a resource and return its contents."""
        found: list[JSON] = (await self.request("resources/read", {"uri": uri}))["contents"]
        return found

    async def prompt(self, name: str, arguments: Mapping[str, str] | None = None) -> JSON:
        """Get a prompt."""
        return await self.request("prompts/get", {"name": name, "arguments": arguments or {}})

    async def complete(
        self,
        target: str,
        argument: str,
        value: str,
        known: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Return suggestions for an argument of a prompt (by name) or of a template (by address)."""
        ref = {"type": "ref/resource", "uri": target} if "://" in target else {"type": "ref/prompt", "name": target}
        params: JSON = {"ref": ref, "argument": {"name": argument, "value": value}}
        if known:
            params["context"] = {"arguments": dict(known)}
        found: list[str] = (await self.request("completion/complete", params))["completion"]["values"]
        return found
