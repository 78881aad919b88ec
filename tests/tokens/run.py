"""Count the tokens of `tools/list` in its modes, for every document under ../shared/specs, with a public tokenizer.

usage: run.py SPECS_FOLDER [--json]

full is everything that a document has; toolsets is what is on by default of the toolsets that `bartizan import` makes
of tags and paths; search is the three tools that stand for all. The exit code is 1 if search mode needs 1,500 tokens
or more for any of them, or for all together. The tokenizer (o200k_base) is installed once into target/tokens.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import node, npm_folder

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "target" / "tokens"
REVISION = "2026-07-28"
BASE = "https://api.example.com"
MOST = 1_500
META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": {"name": "tokens", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def documents(specs: Path, scratch: Path) -> list[Path]:
    """Return the API documents, unpacked."""
    found = []
    for path in sorted(specs.glob("*/*")):
        plain = scratch / f"{path.parent.name}-{path.name.removesuffix('.gz')}"
        read = path.read_bytes()
        data = gzip.decompress(read) if path.suffix == ".gz" else read
        if re.search(rb"""^\s*[{]?\s*"?(openapi|swagger)"?\s*:""", data[:4000], re.MULTILINE):
            plain.write_bytes(data)
            found.append(plain)
    return found


def listed(program: str, scratch: Path, configuration: str, *options: str) -> list[dict[str, Any]]:
    """Return what a server answers to `tools/list`, all pages."""
    path = scratch / "bartizan.toml"
    path.write_text(f"[server]\npage_size = 1000\n{configuration}")
    environment = {**os.environ, "BARTIZAN_STATE_DIR": str(scratch / "state")}
    log = (scratch / "log").open("w")
    server = subprocess.Popen(
        [program, "serve", "--config", str(path), "--policy", "admin", *options],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    tools: list[dict[str, Any]] = []
    cursor: str | None = None
    if server.stdin is None or server.stdout is None:
        sys.exit("the server has no pipes")
    for number in itertools.count(1):
        params = {"_meta": META, **({"cursor": cursor} if cursor else {})}
        request = {"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": params}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline() or "{}")
        if "result" not in answer:
            said = (scratch / "log").read_text()
            sys.exit(f"tools/list was answered with {json.dumps(answer)[:300]}\n{configuration}\n{said[-2000:]}")
        tools += answer["result"]["tools"]
        cursor = answer["result"].get("nextCursor")
        if cursor is None:
            break
    server.stdin.close()
    server.wait(20)
    log.close()
    return tools


def openapi(files: list[Path]) -> str:
    """Return the configuration of documents as they are."""
    return "".join(
        f'[[openapi]]\nfile = "{file}"\nname = "api{at}"\nbase_url = "{BASE}"\n' for at, file in enumerate(files)
    )


def imported(program: str, scratch: Path, file: Path) -> str:
    """Import a document and return the configuration for it."""
    folder = scratch / f"{file.stem}-connector"
    command = [program, "import", str(file), "--into", str(folder), "--base-url", BASE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{file.name} cannot be imported: {done.stderr}")
    return f'[[connector]]\npath = "{folder}"\n'


def count(files: list[Path]) -> list[int]:
    """Return how many tokens each file has."""
    folder, npm = node()
    environment = {**os.environ, "PATH": os.pathsep.join(filter(None, (folder, os.environ.get("PATH", ""))))}
    npm_folder(CACHE, HERE, npm, environment)
    run = ["node", str(CACHE / "count.mjs"), *map(str, files)]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    counts: list[int] = json.loads(done.stdout)
    return counts


def main() -> int:
    """Count, print a table, and return 1 if search mode needs too much."""
    specs = Path(sys.argv[1])
    if not specs.is_dir():
        sys.stdout.write("skipped: the shared specifications are not beside the project\n")
        return 0
    program = os.environ.get("PROGRAM") or shutil.which("bartizan") or "bartizan"
    scratch = Path(tempfile.mkdtemp(prefix="bartizan-tokens-"))
    files = documents(specs, scratch)
    written: list[tuple[str, str, int, Path]] = []

    def keep(name: str, mode: str, tools: list[dict[str, Any]]) -> None:
        path = scratch / f"list-{len(written)}.json"
        path.write_text(json.dumps({"tools": tools}, separators=(",", ":"), ensure_ascii=False))
        written.append((name, mode, len(tools), path))

    # documents that have tools of one name cannot be served together without a prefix
    together: list[Path] = []
    names: set[str] = set()
    for file in files:
        full = listed(program, scratch, openapi([file]), "--search", "off")
        keep(file.name, "full", full)
        own = {str(tool["name"]) for tool in full}
        if not own & names:
            together.append(file)
            names |= own
        keep(file.name, "toolsets", listed(program, scratch, imported(program, scratch, file), "--search", "off"))
        keep(file.name, "search", listed(program, scratch, openapi([file]), "--search", "on"))
    keep(f"{len(together)} of them, {len(names)} tools", "search", listed(program, scratch, openapi(together)))
    rows = [
        {"document": name, "mode": mode, "tools": tools, "tokens": tokens}
        for (name, mode, tools, _), tokens in zip(written, count([path for *_, path in written]), strict=True)
    ]
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    else:
        for row in rows:
            sys.stdout.write(
                f"{row['document']:<44} {row['mode']:<9} {row['tools']:>5} tools {row['tokens']:>9,} tokens\n"
            )
    shutil.rmtree(scratch, ignore_errors=True)
    beyond = [row for row in rows if row["mode"] == "search" and int(str(row["tokens"])) >= MOST]
    for row in beyond:
        sys.stdout.write(f"MISS {row['document']}: search mode needs {row['tokens']} tokens (wanted < {MOST:,})\n")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
