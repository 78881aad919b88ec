"""Who may answer an approval: only a client that the configuration names, through both doors and both transports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from commands import HANDSHAKE, Piped, Served, envelope, outcomes

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = """
from bartizan import Server

server = Server("mine")

@server.tool
def make(name: str) -> str:
    "Make a thing."
    return "made " + name
"""
LOCAL = "local:tester"  # what the configuration calls the user of these tests
CALL = {"name": "make", "arguments": {"name": "one"}}
QUESTION = "bartizan.approval"
FORM: dict[str, Any] = {"elicitation": {"form": {}}}


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what writes the tools and a configuration, and gives the arguments of serve."""

    monkeypatch.setenv("USER", "tester")

    def written(*trusted: str) -> list[str]:
        (tmp_path / "tools.py").write_text(TOOLS)
        names = json.dumps(list(trusted))
        (tmp_path / "bartizan.toml").write_text(f"[approvals]\ntrust_clients = {names}\n")
        return [
            "--config", str(tmp_path / "bartizan.toml"), "--tools", str(tmp_path / "tools.py"), "--policy", "standard",
        ]  # fmt: skip

    return written


def initialize(**capabilities: Any) -> dict[str, Any]:
    """Return the parameters of the older door's first request."""
    return {
        "protocolVersion": HANDSHAKE,
        "capabilities": capabilities,
        "clientInfo": {"name": "bartizan-operator", "version": "1"},
    }


def is_held(result: dict[str, Any]) -> None:
    """Assert that the call is refused for want of somebody to ask, and says how to go on."""
    assert result["isError"] is True
    assert "bartizan approvals enrol" in result["content"][0]["text"]


class Older:
    """The older door on a pipe."""

    def __init__(self, piped: Piped) -> None:
        self.piped = piped
        self.seen: set[Any] = set()
        self.send("initialize", initialize(**FORM), number=1)
        assert piped.answer(1)["result"]["protocolVersion"] == HANDSHAKE
        self.send("notifications/initialized")

    def send(self, method: str, params: dict[str, Any] | None = None, *, number: int | None = None) -> None:
        """Send a message without the newer revision's `_meta`."""
        whole: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        whole |= {"params": params} if params is not None else {}
        whole |= {"id": number} if number is not None else {}
        self.piped.send(json.dumps(whole))

    def reply(self, question: dict[str, Any], result: dict[str, Any]) -> None:
        """Answer what the server asked."""
        self.piped.send(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": result}))

    def question(self) -> dict[str, Any]:
        """Wait for what the server asks."""

        def match(line: str) -> dict[str, Any] | None:
            message: dict[str, Any] = json.loads(line)
            new = message.get("method") == "elicitation/create" and message["id"] not in self.seen
            return message if new else None

        found: dict[str, Any] = self.piped.out.wait(match)
        self.seen.add(found["id"])
        return found


def test_the_older_door_asks_a_trusted_client_on_a_pipe(setup: Any) -> None:
    with Piped(*setup(LOCAL)) as piped:
        door = Older(piped)
        door.send("tools/call", CALL, number=2)
        asked = door.question()
        assert "make" in asked["params"]["message"]
        field = next(iter(asked["params"]["requestedSchema"]["properties"]))
        door.reply(asked, {"action": "accept", "content": {field: True}})
        assert piped.answer(2)["result"]["content"][0]["text"] == "made one"
        # The next call is asked for again.
        door.send("tools/call", CALL, number=3)
        door.reply(door.question(), {"action": "decline"})
        assert piped.answer(3)["result"]["isError"]
    assert outcomes("make").count("ok") == 1


@pytest.mark.parametrize("answer", [{"action": "decline"}, {"action": "cancel"}, {"action": "accept", "content": {}}])
def test_only_a_clear_yes_of_a_trusted_client_is_one(setup: Any, answer: dict[str, Any]) -> None:
    with Piped(*setup(LOCAL)) as piped:
        door = Older(piped)
        door.send("tools/call", CALL, number=2)
        door.reply(door.question(), answer)
        message = piped.answer(2)
        assert "error" in message or message["result"]["isError"]
        assert "made one" not in json.dumps(message)
        assert piped.close() == 0
    assert "ok" not in outcomes("make")


def test_the_older_door_asks_nobody_else_on_a_pipe(setup: Any) -> None:
    with Piped(*setup("key:local", "local:somebody-else")) as piped:
        door = Older(piped)
        door.send("tools/call", CALL, number=2)
        is_held(piped.answer(2)["result"])
        assert "elicitation/create" not in piped.out.text()


def newer(answers: dict[str, Any] | None = None, state: str | None = None) -> dict[str, Any]:
    """Return the parameters of a call through the newer door, from a client that can ask its user."""
    params: dict[str, Any] = dict(CALL)
    params |= {"inputResponses": answers} if answers is not None else {}
    params |= {"requestState": state} if state is not None else {}
    return envelope(params, **FORM)


def test_the_newer_door_asks_a_trusted_client_on_a_pipe(setup: Any) -> None:
    with Piped(*setup(LOCAL)) as piped:
        asked = piped.ask("tools/call", newer())["result"]
        assert asked["resultType"] == "input_required"
        field = next(iter(asked["inputRequests"][QUESTION]["params"]["requestedSchema"]["properties"]))
        yes = {QUESTION: {"action": "accept", "content": {field: True}}}
        done = piped.ask("tools/call", newer(yes, asked["requestState"]))["result"]
        assert done["content"][0]["text"] == "made one"
        # The answer was good for one call.
        again = piped.ask("tools/call", newer(yes, asked["requestState"]))
        assert "made one" not in json.dumps(again)
    assert outcomes("make").count("ok") == 1


def test_the_newer_door_asks_nobody_else_on_a_pipe(setup: Any) -> None:
    with Piped(*setup()) as piped:
        is_held(piped.ask("tools/call", newer())["result"])
        # Nor is an answer taken that nobody asked for.
        is_held(
            piped.ask("tools/call", newer({QUESTION: {"action": "accept", "content": {"approve": True}}}))["result"]
        )


@pytest.mark.parametrize("trusted", [True, False])
def test_over_http_it_is_the_key_that_is_trusted(setup: Any, *, trusted: bool) -> None:
    with Served(*setup(*(["key:local"] if trusted else [LOCAL, "key:other"]))) as served:
        headers = served.headers("tools/call", "make")
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": newer()})
        result = served.post(body, headers).result
        if not trusted:
            is_held(result)
            return
        assert result["resultType"] == "input_required"
        field = next(iter(result["inputRequests"][QUESTION]["params"]["requestedSchema"]["properties"]))
        yes = {QUESTION: {"action": "accept", "content": {field: True}}}
        params = newer(yes, result["requestState"])
        body = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
        assert served.post(body, headers).text == "made one"


@pytest.mark.parametrize("trusted", [True, False])
def test_over_http_the_older_door_asks_on_the_stream_of_the_call(setup: Any, *, trusted: bool) -> None:
    with Served(*setup(*(["key:local"] if trusted else []))) as served:
        plain = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {served.key}",
        }

        def send(message: dict[str, Any], session: dict[str, str]) -> Any:
            return served.post(json.dumps({"jsonrpc": "2.0", **message}), {**plain, **session})

        opened = send({"id": 1, "method": "initialize", "params": initialize(**FORM)}, {})
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": HANDSHAKE}
        assert send({"method": "notifications/initialized"}, session).status == 202
        if not trusted:
            is_held(send({"id": 2, "method": "tools/call", "params": CALL}, session).result)
            return
        connection = served.open()
        body = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": CALL})
        connection.request("POST", "/mcp", body, {**plain, **session})
        stream = connection.getresponse()

        def message() -> dict[str, Any]:
            while line := stream.readline():
                if line.startswith(b"data:") and b"{" in line:
                    found: dict[str, Any] = json.loads(line[5:])
                    return found
            raise AssertionError

        asked = message()
        assert asked["method"] == "elicitation/create"
        field = next(iter(asked["params"]["requestedSchema"]["properties"]))
        answer = {"action": "accept", "content": {field: True}}
        assert send({"id": asked["id"], "result": answer}, session).status == 202
        assert message()["result"]["content"][0]["text"] == "made one"
        connection.close()
    assert outcomes("make")[-1] == "ok"
