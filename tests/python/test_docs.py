"""The documentation: every block of code in it runs, and every promise names what keeps and what proves it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
# These install the package or run this very test; they are compared and not run.
COMPARED = {"pip install . && bartizan demo", "pip install nox && nox"}
# How many blocks a page has: none may vanish from the test unnoticed.
BLOCKS = {
    "approvals.md": 6,
    "audit.md": 2,
    "README.md": 11,
    "SECURITY.md": 0,
    "CHANGELOG.md": 0,
    "configuration.md": 7,
    "connectors.md": 14,
    "deploying.md": 8,
    "operations.md": 3,
    "python.md": 7,
    "sign-in.md": 3,
}
DEADLINE = 60
WIDGETS = """\
openapi: 3.1.0
info: {title: Widgets, version: "1"}
paths:
  /widgets:
    get:
      operationId: listWidgets
      summary: List the widgets.
      responses: {"200": {description: A list.}}
"""


@dataclasses.dataclass
class Block:
    """A fenced block of code."""

    place: str
    language: str
    title: str | None
    code: str


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks; an opening fence that says nothing is refused."""
    found: list[Block] = []
    lines: list[str] = []
    opened: Block | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*(?:```+|~~~+)\s*(.*)$", line)
        if opened is None and fence:
            language, _, rest = fence.group(1).partition(" ")
            opened = Block(f"{page.name}:{number}", language, rest.removeprefix("title=") or None, "")
            assert language, f"{opened.place}: say which language it is"
        elif opened is not None and fence:
            found.append(dataclasses.replace(opened, code="\n".join(lines) + "\n"))
            opened, lines = None, []
        elif opened is not None:
            lines.append(line)
    assert opened is None, f"{page.name}: a block is not closed"
    return found


class Desk:
    """A scratch directory with what a reader would have: files, variables, and the command."""

    def __init__(self, folder: Path, state: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "BARTIZAN_STATE_DIR": str(state),
            "EQUINIX_CLIENT_ID": "an-id-for-the-documentation",
            "EQUINIX_CLIENT_SECRET": "a-secret-for-the-documentation",
            "WIDGETS_TOKEN": "a-token-for-the-documentation",
            "WIDGETS_TOKEN_2": "another-token-for-the-documentation",
            "WIDGETS_KEY": "a-key-for-the-documentation",
            "APPROVALS_WEBHOOK_SECRET": "a-secret-for-the-documentation",
            "HOOK_KEY": "a-secret-for-the-documentation",
            "OTEL_TOKEN": "a-secret-for-the-documentation",
            "OPERATOR_PASSPHRASE": "long enough for an operator",
        }
        (folder / "widgets.yaml").write_text(WIDGETS, encoding="utf-8")

    def run(self, block: Block, *command: str, given: str = "") -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            input=given,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, block: Block, usual: str) -> Path:
        path = self.folder / (block.title or usual)
        path.parent.mkdir(exist_ok=True)
        # the tests of a container run as root, which a reader does not
        as_root = path.name == "bartizan.toml" and os.geteuid() == 0 and "allow_root" not in block.code
        root = "allow_root = true\n" if as_root else ""
        path.write_text(root + block.code, encoding="utf-8")
        return path


def run_python(desk: Desk, block: Block) -> None:
    """Run a program; one that serves finds its input at an end, and its tools are listed too."""
    path = desk.write(block, "block.py")
    desk.run(block, sys.executable, path.name)
    if "\nserver = Server(" in block.code:
        listed = desk.run(block, "bartizan", "tools", "--tools", path.name, "--json")
        assert json.loads(listed)["tools"], block.place


def run_shell(desk: Desk, block: Block) -> None:
    """Run what is typed; what installs is compared instead."""
    if block.code.strip() in COMPARED:
        return
    assert "pip " not in block.code, f"{block.place}: neither run nor compared"
    said = desk.run(block, "bash", "-euc", block.code)
    if "bartizan tools" in block.code or "bartizan call" in block.code:
        assert said.strip(), f"{block.place}: it said nothing"


def run_json(desk: Desk, block: Block) -> None:
    """Start a client's configured servers and speak to them."""
    for server in json.loads(block.code)["mcpServers"].values():
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "docs", "version": "1"}}
        messages: list[dict[str, Any]] = [
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        ]
        given = "".join(json.dumps(message) + "\n" for message in messages)
        said = desk.run(block, server["command"], *server["args"], given=given)
        answers = {answer.get("id"): answer for answer in map(json.loads, said.splitlines())}
        assert answers[1]["result"]["protocolVersion"] == "2025-11-25", block.place
        assert answers[2]["result"]["tools"], block.place


def run_toml(desk: Desk, block: Block) -> None:
    """Check a configuration, or the folder of a connector."""
    path = desk.write(block, "bartizan.toml")
    if path.name == "connector.toml":
        desk.run(block, "bartizan", "check", "--connector", f"./{path.parent.name}")
    else:
        desk.run(block, "bartizan", "check", "--config", path.name)


def run_cedar(desk: Desk, block: Block) -> None:
    """Check a policy against the tools that the page speaks of."""
    path = desk.write(block, "")
    desk.run(block, "bartizan", "policy", "check", path.name, "--connector", "equinix", "--practice")


def run_yaml(desk: Desk, block: Block) -> None:
    """Check an API document, or an overlay of the document beside it."""
    assert block.title, f"{block.place}: a document needs a title"
    path = desk.write(block, "")
    name = str(path.relative_to(desk.folder))
    document = ["--openapi", name]
    if block.code.startswith("overlay:"):
        document = ["--openapi", f"{path.parent.name}/openapi.yaml", "--overlay", name]
    desk.run(block, "bartizan", "check", *document, "--base-url", "https://api.example.com/v1")


def run_text(desk: Desk, block: Block) -> None:
    """Accept a picture, and nothing that somebody would type."""
    assert desk.folder.is_dir()
    assert not re.search(r"^\s*(\$|>>>|bartizan |pip |import )", block.code, re.MULTILINE), (
        f"{block.place}: is it code?"
    )


RUN: dict[str, Callable[[Desk, Block], None]] = {
    "python": run_python,
    "sh": run_shell,
    "json": run_json,
    "toml": run_toml,
    "yaml": run_yaml,
    "cedar": run_cedar,
    "text": run_text,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_code_runs(page: Path, tmp_path: Path, state: Path) -> None:
    found = blocks(page)
    assert len(found) == BLOCKS[page.name], [block.place for block in found]
    desk = Desk(tmp_path / "desk", state)
    for block in found:
        # a page may speak of a file before it shows it
        if block.language in ("toml", "yaml") and (block.title or page.name == "README.md"):
            desk.write(block, "bartizan.toml")
    for block in found:
        RUN[block.language](desk, block)


def test_every_page_is_tested() -> None:
    assert sorted(BLOCKS) == sorted(page.name for page in PAGES)
    commands = {block.code.strip() for page in PAGES for block in blocks(page)}
    assert commands >= COMPARED


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_setting_is_documented() -> None:
    files = {
        None: "config.rs",
        "policy": "policy/mod.rs",
        "approvals": "approvals/config.rs",
        "tasks": "tasks/mod.rs",
        "limits": "limits/mod.rs",
        "calls": "pipeline/mod.rs",
        "redaction": "redaction/mod.rs",
        "audit": "audit/mod.rs",
        "http": "transport/config.rs",
        "oauth": "identity/oauth/config.rs",
        "egress": "http/settings.rs",
        "server": "server/config.rs",
        "store": "state/shared/config.rs",
        "alerts": "alerts/config.rs",
        "secrets": "vault/keeper.rs",
        "tokens": "vault/tokens.rs",
        "telemetry": "telemetry/config.rs",
        "log": "telemetry/logs.rs",
    }
    page = next(block.code for block in blocks(ROOT / "docs" / "configuration.md") if block.language == "toml")
    sections: dict[str, str] = {}
    for name, body in re.findall(r"(?ms)^\[(\w+)[.\w]*\].*?$(.*?)(?=^\[|\Z)", page):
        sections[name] = sections.get(name, "") + body
    sections[""] = page.split("\n[", 1)[0]
    count = 0
    for section, file in files.items():
        source = (ROOT / "src" / file).read_text(encoding="utf-8")
        fields = re.search(r"(?ms)^pub struct Config \{$(.*?)^\}$", source)
        assert fields, file
        body = re.sub(r"#\[serde\(skip\)\]\s*pub \w+", "", fields.group(1))
        for name in re.findall(r"^    pub (\w+):", body, re.MULTILINE):
            if section is None and name in {*files, "introduction", "contact", "offer", "principal", "keys"}:
                assert name in sections, f"[{name}] is not documented"
                continue
            if (section, name) == ("approvals", "profile"):
                continue  # the program sets it from the profile above
            known = re.search(rf"^(# )?{name} = ", sections[section or ""], re.MULTILINE)
            known = known or re.search(rf"^(# )?\[+{section}\.{name}\b", page, re.MULTILINE)
            assert known, f"{name} of [{section}] is not documented"
            count += 1
    assert count > 60


@dataclasses.dataclass
class Promise:
    """A row of the table in SECURITY.md."""

    words: str
    kept: list[str]
    proved: list[str]


def promises() -> list[Promise]:
    rows: list[Promise] = []
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## What we promise", 1)[1].split("\n## ", 1)[0]
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith(("| promise", "| ---")):
            words, kept, proved = (cell.strip() for cell in line.strip("|").split("|"))
            rows.append(Promise(words, re.findall(r"`([^`]+)`", kept), re.findall(r"`([^`]+)`", proved)))
    return rows


def test_every_promise_names_files_and_tests_that_exist() -> None:
    rows = promises()
    assert len(rows) >= 20
    for row in rows:
        assert row.kept, row.words
        assert row.proved, row.words
        for path in row.kept:
            assert (ROOT / path).is_file(), f"{row.words}: {path}"
        for proof in row.proved:
            assert "::" in proof, f"{row.words}: {proof} names no test"
            assert exists(proof), f"{row.words}: {proof}"


def exists(proof: str) -> bool:
    """Say whether a test of that name is in that file."""
    path, _, name = proof.partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    return (
        "//! ```compile_fail" in source if name == "compile_fail" else bool(re.search(rf"\b(fn|def) {name}\(", source))
    )


def test_each_of_the_94_promises_is_kept_by_a_file_and_a_test_or_says_why_not() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    part = text.split("## The promises of others, kept here", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(1, 95))
    for number, words, kept, proved in rows:
        if kept == "operator":
            assert int(number) in {8, 12, 71, 79, 82, 83, 89, 91, 93}, words
        if kept == "later":
            assert int(number) in {46, 48, 50, *range(69, 76)}, words
            assert re.match(r"waits for (a|the same) connector for \w+", proved), f"{words}: {proved}"
        if kept in {"operator", "later"}:
            assert proved, words
            for heading in re.findall(r'see "([^"]+)" below', proved):
                assert re.search(rf"^##+ {heading}$", text, re.MULTILINE), f"{words}: no heading {heading}"
            continue
        files, proofs = re.findall(r"`([^`]+)`", kept), re.findall(r"`([^`]+::[^`]+)`", proved)
        assert files, words
        assert proofs, words
        assert all((ROOT / path).is_file() for path in files), f"{words}: {kept}"
        missing = [proof for proof in proofs if not exists(proof)]
        assert not missing, f"{words}: {missing}"


def test_each_attack_and_each_fault_names_a_test_that_tries_it() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    part = text.split("## Attacks and faults that are tried", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for words, tried in rows:
        proofs = re.findall(r"`([^`]+::[^`]+)`", tried)
        assert proofs, words
        missing = [proof for proof in proofs if not exists(proof)]
        assert not missing, f"{words}: {missing}"


def test_the_commands_that_are_compared_are_the_projects_own() -> None:
    script = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'bartizan = "bartizan.__main__:main"' in script
    assert shlex.split("pip install nox && nox")[-1] == "nox"
    assert (ROOT / "noxfile.py").is_file()
