"""The MCP Inspector's command line as a client, in either era.

Two programs come in its package: `mcp-inspector --cli`, which makes one request and ends, and `mcpdo`, which keeps a
connection in a daemon of its own. The first shows what it can; the second the rest.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from behaviours import PATIENCE, NotOffered, asked, label, run, same

ERA = {"legacy": "legacy", "auto": "modern"}[asked["era"]]
BIN = Path(asked["programs"])
JOURNAL = Path(asked["journal"])
MCPDO = [str(BIN / "mcpdo"), "--format", "json", "--connection", "it"]
environment = {**os.environ, "MCP_INSPECTOR_SECRET_STORE": "file", "HOME": asked["home"]}


async def program(*command: str) -> asyncio.subprocess.Process:
    """Start a program of the package."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=environment, stdin=-3, stdout=pipe, stderr=pipe)


async def output(*command: str) -> tuple[int, Any]:
    """Run a program and return its exit code and what it printed, or the error it printed instead."""
    process = await program(*command)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    printed = out.decode() or err.decode().strip().rpartition("\n")[2]
    try:
        return process.returncode or 0, json.loads(printed)
    except ValueError:
        return process.returncode or 0, printed


def target() -> list[str]:
    """Return the arguments that name the server."""
    if asked["transport"] == "stdio":
        return list(asked["command"])
    return ["--server-url", asked["url"], "--header", f"Authorization: Bearer {asked['key']}"]


def request(method: str, *arguments: str) -> list[str]:
    """Return the command that makes one request with `--cli`."""
    flags = ["--transport", "stdio" if asked["transport"] == "stdio" else "http", "--protocol-era", ERA]
    return [str(BIN / "mcp-inspector"), "--cli", *target(), *flags, "--format", "json", "--method", method, *arguments]


async def once(method: str, *arguments: str) -> tuple[int, Any]:
    """Make one request with `--cli`."""
    return await output(*request(method, *arguments))


async def mcpdo(*arguments: str) -> tuple[int, Any]:
    """Run a command on the kept connection."""
    return await output(*MCPDO, *arguments)


async def connect() -> None:
    """Start a daemon of our own and connect it."""
    _, exports = await output(MCPDO[0], "private")
    environment.update(re.findall(r"export (\w+)='([^']*)'", exports))
    to = ["--", *target()] if asked["transport"] == "stdio" else target()
    code, said = await mcpdo("connect", "--era", ERA, *to)
    same((code, said["protocolEra"] if code == 0 else said), (0, ERA))


async def tools() -> None:
    """List and call."""
    _, listed = await once("tools/list")
    same({"add", "count", "greet", "hang"} - {tool["name"] for tool in listed["result"]["tools"]}, set())
    _, added = await once("tools/call", "--tool-name", "add", "--tool-args-json", '{"a": 1}')
    same(added["result"]["structuredContent"], {"total": 3})


async def progress() -> None:
    """Call what reports progress."""
    code, counted = await mcpdo("tools/call", "count", "to:=3")
    same((code, counted["content"][0]["text"]), (0, "counted to 3"))
    raise NotOffered("it calls what reports progress, and shows none of it")


async def elicitation() -> None:
    """Leave a call parked, answer, and get the result."""
    _, parked = await mcpdo("tools/call", "greet")
    _, greeted = await mcpdo("elicitation/respond", parked["elicitationPending"]["elicitationId"], "value:=Ann")
    same(greeted["content"][0]["text"], "Hello, Ann!")


async def resource() -> None:
    """List and read."""
    _, listed = await once("resources/list")
    same([one["uri"] for one in listed["result"]["resources"]], ["note://menu/today"])
    _, read = await once("resources/read", "--uri", "note://tea")
    same(read["result"]["contents"][0]["text"], "a note about tea")


async def prompt() -> None:
    """List and get."""
    _, listed = await once("prompts/list")
    same([one["name"] for one in listed["result"]["prompts"]], ["review"])
    _, found = await once("prompts/get", "--prompt-name", "review", "--prompt-args", "code=x")
    same(found["result"]["messages"][0]["content"]["text"], "Review x")


async def journal(line: str) -> None:
    """Wait for a line in the server's journal."""
    while line not in JOURNAL.read_text().splitlines():
        await asyncio.sleep(0.05)


async def cancel() -> None:
    """Interrupt a call as a person would."""
    arguments = ["--tool-name", "hang", "--tool-args-json", json.dumps({"label": label})]
    hanging = await program(*request("tools/call", *arguments))
    await journal(f"started {label}")
    hanging.send_signal(signal.SIGINT)
    await hanging.communicate()
    if ERA == "legacy" and asked["transport"] == "http":
        raise NotOffered("interrupted, it just goes, which in 2025-11-25 over HTTP means no cancellation")
    await journal(f"cancelled {label}")


async def task() -> None:
    """Call what becomes a task; the command follows it to its end."""
    if ERA == "legacy":
        raise NotOffered("its tasks of 2025-11-25 are the experimental ones, which the extension replaces")
    brewing = await program(*MCPDO, "tools/call", "brew", "cups:=2", f"label:={label}")
    await journal(f"brewing {label}")
    (JOURNAL.parent / f"poured-{label}").touch()
    out, _ = await brewing.communicate()
    same(json.loads(out)["content"][0]["text"], "2 cups")


async def typed_error() -> None:
    """See the two kinds of error apart."""
    code, refused = await once("resources/read", "--uri", "none://such")
    same((code, refused["error"]["message"]), (1, "There is no resource at this address."))
    code, failed = await mcpdo("tools/call", "fail")
    same((code, failed["isError"], failed["content"][0]["text"]), (5, True, "the words of the tool"))


async def main() -> None:
    """Go through every behaviour."""
    JOURNAL.touch()
    try:
        await connect()
        await run(
            {
                "tools": tools,
                "progress": progress,
                "elicitation": elicitation,
                "resource": resource,
                "prompt": prompt,
                "cancel": cancel,
                "task": task,
                "typed error": typed_error,
            }
        )
    finally:
        await mcpdo("disconnect", "it")
        await output(MCPDO[0], "daemon", "stop")


if __name__ == "__main__":
    asyncio.run(main())
