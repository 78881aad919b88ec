"""The log of a server as JSON: whatever reads it gets one object a line, and no secret."""

from __future__ import annotations

import http.client
import json
import re
from typing import TYPE_CHECKING

from commands import JSON, NEWEST, PATIENCE, Process, envelope

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("ghp_aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC3", "hunter2-is-no-good", "c2VjcmV0LW9mLXRoZS10ZXN0cw")
TOOLS = f"""
from bartizan import Server

server = Server("own")

@server.tool(effect="read")
def breaks() -> str:
    "Break, and say too much."
    raise ValueError(
        '{SECRETS[0]} password="{SECRETS[1]}"\\n and {{"token": "{SECRETS[1]}"}}\\n'
        'Authorization: Basic {SECRETS[2]}\\n\\\\" \\x1b[31m'
    )
"""


def call(address: str, key: str) -> JSON:
    """Call the tool."""
    params = envelope({"name": "breaks", "arguments": {}})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": NEWEST,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "breaks",
        "Authorization": f"Bearer {key}",
    }
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("POST", "/mcp", body, headers)
        found: JSON = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def test_each_line_is_json_and_holds_no_secret(tmp_path: Path, state: Path) -> None:
    tools, config = tmp_path / "own.py", tmp_path / "bartizan.toml"
    tools.write_text(TOOLS)
    config.write_text("[log]\njson = true\n[http]\ndrain_delay = 0\n")
    with Process("serve", "--tools", tools, "--config", config, "--http", "127.0.0.1:0") as served:
        address = served.err.wait(lambda line: re.search(r"serving http://([^/]+)/mcp", line))[1]
        key = (state / "http.key").read_text().strip()
        answer = call(address, key)
        assert answer["result"]["structuredContent"]["error"]["kind"] == "ToolFailed", answer
        served.err.wait(lambda line: "a call failed" in line)
        assert served.stop()[0] == 0
        said = served.err.all()
    assert not any(secret in said for secret in SECRETS)
    lines = [json.loads(line) for line in said.splitlines()]
    assert all({"timestamp", "level", "fields"} <= line.keys() for line in lines)
    warned = [line for line in lines if line["level"] == "WARN"]
    assert len(warned) == 1
    fields = warned[0]["fields"]
    assert fields["kind"] == "ToolFailed"
    assert "[redacted:" in fields["cause"]
    assert fields["id"] == answer["result"]["structuredContent"]["error"]["id"]
