"""Long answers, as the official Python SDK's client sees them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from commands import Upstream, program, reply
from mcp import Client, MCPError, StdioServerParameters, types

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

THINGS = [{"id": number, "name": f"thing “{number}”", "note": "漢é🦀" * 15} for number in range(6000)]
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "1"},
    "paths": {"/things": {"get": {"operationId": "list_things", "responses": {"200": {"description": "all"}}}}},
}
MARK = "[redacted:cut]"


def answer(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, 200, json.dumps({"data": THINGS, "total": len(THINGS)}))


def served(folder: Path, upstream: Upstream) -> StdioServerParameters:
    (folder / "things.json").write_text(json.dumps(DOCUMENT))
    config = folder / "bartizan.toml"
    config.write_text(
        f'[[openapi]]\nfile = "{folder / "things.json"}"\nbase_url = "{upstream.url}"\nauth = "none"\n'
        f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}"]\n'
    )
    return StdioServerParameters(command=program(), args=["serve", "--config", str(config)], env=dict(os.environ))


def shown(result: types.CallToolResult) -> tuple[str, dict[str, Any]]:
    first = result.content[0]
    assert isinstance(first, types.TextContent)
    return first.text, json.loads(first.text)


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_a_megabyte_comes_in_pieces_and_nothing_of_it_is_lost(tmp_path: Path, era: str) -> None:
    with Upstream(answer) as upstream:
        async with Client(served(tmp_path, upstream), mode=era) as client:
            tool = (await client.list_tools()).tools[0]
            assert {"fields", "page"} <= set(tool.input_schema["properties"])
            found: list[Any] = []
            whole = await client.call_tool("list_things", {})
            assert len(shown(whole)[0].encode()) <= 16_000
            assert shown(whole)[1]["data"] == THINGS[: len(shown(whole)[1]["data"])]
            arguments: dict[str, Any] = {"fields": ["data.id"]}
            while True:
                result = await client.call_tool("list_things", arguments)
                text, piece = shown(result)
                assert len(text.encode()) <= 16_000
                if "next_page" in piece:
                    assert len(result.model_dump_json(exclude_none=True)) <= 24_000, "quotes are escaped on the wire"
                    assert result.structured_content is None, "what is long is not sent twice"
                found += piece["data"]
                if "next_page" not in piece:
                    break
                arguments = {"page": piece["next_page"]}
            assert found == [{"id": thing["id"]} for thing in THINGS]
            few = await client.call_tool("list_things", {"fields": ["total"]})
            assert few.structured_content == {"total": len(THINGS), MARK: "only what was asked for"}


async def test_the_whole_is_behind_the_link_for_a_while(tmp_path: Path) -> None:
    with Upstream(answer) as upstream:
        async with Client(served(tmp_path, upstream)) as client:
            result = await client.call_tool("list_things", {})
            link = next(block for block in result.content if isinstance(block, types.ResourceLink))
            assert str(link.uri) in shown(result)[1][MARK]
            whole, address = "", str(link.uri)
            while address:
                part = (await client.read_resource(address)).contents[0]
                assert isinstance(part, types.TextResourceContents)
                whole += part.text
                address = (part.meta or {})["bartizan/part"].get("next", "")
            assert json.loads(whole) == {"data": THINGS, "total": len(THINGS)}
            with pytest.raises(MCPError, match="Call the tool again"):
                await client.read_resource("bartizan://results/AAAAAAAAAAAAAAAAAAAAAA")


async def test_a_client_that_declares_it_gets_data_once(tmp_path: Path) -> None:
    with Upstream(answer) as upstream:
        known = types.Implementation(name="claude-code", version="1")
        async with Client(served(tmp_path, upstream), client_info=known) as client:
            few = await client.call_tool("list_things", {"fields": ["data.id"]})
            text = few.content[0]
            assert isinstance(text, types.TextContent)
            assert len(text.text) < 60
            assert few.structured_content is not None
            assert few.structured_content["data"][0] == {"id": 0}
            assert few.structured_content["next_page"].startswith("handle:")
