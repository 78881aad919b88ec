"""What the Python clients share: the behaviours, in the words of an adapter, and the report's form.

Owns :class:`Client`, which each SDK fills in, and the line of JSON for each behaviour. The idea: a behaviour that fails
or hangs is a line too, and the next one still runs. Must not: import any SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

PATIENCE = 20.0
REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
asked: dict[str, Any] = json.loads(sys.argv[1])
label: str = asked["label"]


class NotOffered(Exception):
    """Raised with the reason why this client cannot do it."""


@dataclass
class Result:
    """What a tool returned."""

    text: str
    structured: Any
    is_error: bool


class Client(ABC):
    """A connected client that answers every question with the name Ann."""

    @abstractmethod
    def revision(self) -> str | None:
        """The revision that was agreed on."""

    @abstractmethod
    async def names(self, what: str) -> list[str]:
        """The names of `tools` or `prompts`, or the addresses of `resources`."""

    @abstractmethod
    async def call(self, tool: str, arguments: dict[str, Any], progress: Any = None) -> Result:
        """Call a tool; `progress` is awaited with progress, total and message."""

    @abstractmethod
    async def read(self, uri: str) -> str:
        """Read a resource's text."""

    @abstractmethod
    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        """Get a prompt's first text."""

    @abstractmethod
    def code(self, error: Exception) -> int | None:
        """The code of a protocol error, None if it is none."""

    async def give_up(self, call: asyncio.Task[Any]) -> None:
        """Cancel a call under way, and tell the server."""
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    async def task(self) -> None:
        """Follow a task to its result."""
        raise NotImplementedError


def say(behaviour: str, result: str, why: str = "") -> None:
    """Report a behaviour."""
    sys.stdout.write(json.dumps({"behaviour": behaviour, "result": result, "why": why}) + "\n")
    sys.stdout.flush()


def same(found: object, wanted: object) -> None:
    """Fail unless the two are equal."""
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


async def run(behaviours: dict[str, Callable[[], Awaitable[Any]]]) -> None:
    """Run each behaviour with a deadline."""
    for name, behaviour in behaviours.items():
        try:
            await asyncio.wait_for(behaviour(), PATIENCE)
        except NotOffered as reason:  # noqa: PERF203 - each has to be caught by itself
            say(name, "not offered", str(reason))
        except Exception as error:  # noqa: BLE001 - every end is a line in the report
            traceback.print_exc()
            say(name, "FAIL", f"{type(error).__name__}: {error}"[:300])
        else:
            say(name, "pass")


class Walk:
    """The behaviours, one after the other, on one connection."""

    def __init__(self, client: Client) -> None:
        """Keep the client."""
        self.client = client

    async def tools(self) -> None:
        """List and call."""
        same(self.client.revision(), REVISIONS[asked["era"]])
        same({"add", "count", "greet", "hang"} - set(await self.client.names("tools")), set())
        same((await self.client.call("add", {"a": 1})).structured, {"total": 3})

    async def progress(self) -> None:
        """Hear of every step."""
        steps: list[Any] = []

        async def step(value: float, total: float | None, message: str | None) -> None:
            steps.append((value, total, message))

        same((await self.client.call("count", {"to": 3}, step)).text, "counted to 3")
        same(steps, [(1, 3, "number 1"), (2, 3, "number 2"), (3, 3, "number 3")])

    async def elicitation(self) -> None:
        """Answer a question."""
        same((await self.client.call("greet", {})).text, "Hello, Ann!")

    async def resource(self) -> None:
        """List, and read one that a template makes."""
        same(await self.client.names("resources"), ["note://menu/today"])
        same(await self.client.read("note://tea"), "a note about tea")

    async def prompt(self) -> None:
        """List and get."""
        same(await self.client.names("prompts"), ["review"])
        same(await self.client.prompt("review", {"code": "x"}), "Review x")

    async def cancel(self) -> None:
        """Give a call up once it runs, and see the tool end."""
        hanging: Coroutine[Any, Any, Result] = self.client.call("hang", {"label": label})
        call = asyncio.create_task(hanging)
        await self.client.call("witness", {"label": label, "what": "started"})
        await self.client.give_up(call)
        await self.client.call("witness", {"label": label, "what": "cancelled"})

    async def typed_error(self) -> None:
        """See the two kinds of error apart."""
        try:
            await self.client.call("no_such_tool", {})
        except Exception as error:  # noqa: BLE001 - which kind it is, is the question
            same(self.client.code(error), -32602)
        else:
            raise AssertionError("an unknown tool is no error")
        failed = await self.client.call("fail", {})
        same((failed.is_error, failed.text), (True, "the words of the tool"))

    async def all(self) -> None:
        """Go through them."""
        await run(
            {
                "tools": self.tools,
                "progress": self.progress,
                "elicitation": self.elicitation,
                "resource": self.resource,
                "prompt": self.prompt,
                "cancel": self.cancel,
                "task": self.client.task,
                "typed error": self.typed_error,
            }
        )
