"""``bartizan import``, through the installed program: every vendor's document, then a check in practice."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from commands import run

SHARED = Path(os.environ.get("BARTIZAN_SHARED", Path(__file__).parents[3] / "shared"))
SPECS = SHARED / "specs"
DOCUMENTS = sorted(
    path
    for path in SPECS.glob("*/*")
    if path.name.endswith((".json", ".json.gz", ".yaml")) and ".models." not in path.name
)
# An unoptimised build takes its time over the largest.
LONG = 300.0
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}

# A document like that of any API behind a token: nothing in it names a vendor.
TOKEN_API: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Token API", "version": "1.0.2"},
    "servers": [{"url": "https://elsewhere.example/v1"}],
    "security": [{"key": []}],
    "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Token"}}},
    "paths": {
        "/things": {
            "get": {
                "operationId": "listThings",
                "parameters": [
                    {"name": "cursor", "in": "query", "schema": {"type": "string"}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                ],
                "responses": {
                    "200": {
                        "description": "A page.",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "properties": {
                                        "things": {
                                            "type": "array",
                                            "items": {
                                                "type": "object",
                                                "properties": {
                                                    "id": {"type": "string"},
                                                    "pin": {"type": "string", "format": "password"},
                                                },
                                            },
                                        },
                                        "next_cursor": {"type": ["string", "null"]},
                                    },
                                }
                            }
                        },
                    }
                },
            }
        },
        "/things/{id}": {
            "delete": {
                "operationId": "removeThing",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"204": {"description": "Gone."}},
            }
        },
    },
}


def contents(path: Path) -> bytes:
    """Return a document, unpacked."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.mark.skipif(not DOCUMENTS, reason="no vendors' documents here")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name.partition(".json")[0])
def test_every_vendors_document_is_imported_and_checked_in_practice(path: Path, tmp_path: Path) -> None:
    document = tmp_path / path.name.removesuffix(".gz")
    document.write_bytes(contents(path))
    folder = tmp_path / "made"
    done = run("import", document, "--into", folder, "--base-url", "https://api.example.com", "--json", patience=LONG)
    assert done.code == 0, done.all
    found = done.json
    if path.suffix != ".yaml":
        paths = json.loads(document.read_text(encoding="utf-8"))["paths"].values()
        counted = sum(len(METHODS & item.keys()) for item in paths)
        whole = [one for one in found["unmapped"] if " (" not in one["place"]]
        assert found["operations"] + len(whole) == counted
    assert found["operations"] == sum(found["effects"].values()) == sum(one["tools"] for one in found["toolsets"])
    assert sum("destroys" in one["why"] for one in found["dangers"]) == found["effects"]["destroy"]
    assert found["files"][0] == "connector.toml"
    assert found["base"] == "https://api.example.com/"
    health = ["--health"] if found["health"] else []
    done = run("check", "--connector", folder, "--practice", "--toolsets", "all", "--json", *health, patience=LONG)
    assert done.code == 0, done.all
    if health:
        said = [one["message"] for one in done.json["findings"] if "health check" in one["message"]]
        assert len(said) == 1, said
        assert said[0].endswith("answered."), said


def test_a_token_api_works_whole_from_its_document_alone(tmp_path: Path) -> None:
    document = tmp_path / "api.json"
    document.write_text(json.dumps(TOKEN_API), encoding="utf-8")
    folder = tmp_path / "token-api"
    done = run("import", document, "--into", folder, "--base-url", "https://api.example.com/v1")
    assert done.code == 0, done.all
    for words in ("DELETE /things/{id}", "https://elsewhere.example/v1; only `base` counts", "a key in a header"):
        assert words in done.out
    manifest = (folder / "connector.toml").read_text(encoding="utf-8")
    assert "elsewhere.example" not in "".join(line for line in manifest.splitlines() if not line.startswith("#"))
    # what the remark proposes holds as it is
    manifest = manifest.replace("# [credentials]", "[credentials]")
    for key in ("kind", "name", "from"):
        manifest = manifest.replace(f"# {key} = ", f"{key} = ")
    (folder / "connector.toml").write_text(manifest, encoding="utf-8")
    done = run("check", "--connector", folder)
    assert done.code == 2
    assert "TOKEN_API_KEY" in done.all
    done = run("check", "--connector", folder, env={"TOKEN_API_KEY": "a-token-for-a-test"})
    assert done.code == 0, done.all
    done = run("check", "--connector", folder, "--practice", "--health")
    assert done.code == 0, done.all
    done = run("check", "--connector", folder, "--practice", "--health", "--toolsets", "diagnostics")
    assert done.code == 2
    assert "is not offered by these settings" in done.all
    done = run("call", "--connector", folder, "--practice", "list_things", '{"limit": 2}', "--json")
    assert done.code == 0, done.all
    result = done.json["structuredContent"]
    assert isinstance(result["things"], list)
    assert all("pin" not in thing or "redacted" in str(thing["pin"]) for thing in result["things"])
    refused = run("call", "--connector", folder, "--practice", "remove_thing", '{"id": "x"}')
    assert refused.code == 2 or refused.code == 3, refused.all  # noqa: PLR1714 - unknown under read-only


def test_an_import_says_what_is_wrong_and_never_overwrites(tmp_path: Path) -> None:
    document = tmp_path / "api.json"
    document.write_text(json.dumps(TOKEN_API), encoding="utf-8")
    assert run("import", document, cwd=tmp_path).code == 0
    folder = tmp_path / "token-api"
    assert sorted(path.name for path in folder.iterdir()) == ["api.json", "connector.toml"]
    again = run("import", document, "--json", cwd=tmp_path)
    assert again.code == 2
    assert again.error["kind"] == "BadConfig"
    assert "--force" in again.error["message"]
    plain = run("import", document, "--into", tmp_path / "x", "--base-url", "http://api.example.com")
    assert plain.code == 2
    assert "--plain-http" in plain.err
    assert not (tmp_path / "x").exists()


def test_an_overlay_changes_what_is_served_and_says_what_matched_nothing(tmp_path: Path) -> None:
    document = tmp_path / "api.json"
    document.write_text(json.dumps(TOKEN_API), encoding="utf-8")
    overlay = tmp_path / "ours.yaml"
    overlay.write_text(
        "overlay: 1.0.0\ninfo: {title: ours, version: 1}\nactions:\n"
        "- {target: \"$.paths['/things'].get\", update: {summary: Our things.}}\n"
        "- {target: $.paths.*.delete, remove: true}\n"
        "- {target: $.nothing, remove: true}\n",
        encoding="utf-8",
    )
    source: list[str | Path] = ["--openapi", document, "--overlay", overlay, "--base-url", "https://api.example.com"]
    listed = run("tools", *source, "--full", "--json")
    assert [(tool["name"], tool["title"]) for tool in listed.json["tools"]] == [("list_things", "Our things.")]
    checked = run("check", *source, "--json")
    assert checked.code == 0, checked.all
    assert any("action 3 ($.nothing)" in one["message"] for one in checked.json["findings"])
