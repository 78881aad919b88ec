"""Run clients that others wrote against tests/interop/server.py, over stdio and HTTP, and print one matrix.

usage: run.py [--only CLIENT,...] [--json]

Everything a client needs is installed once into target/interop: a virtual environment, the npm packages of
clients/package.json, or rmcp/. Each client is a program that goes through the behaviours and prints a line for each:
pass, not offered (with the reason), or FAIL. That a call was cancelled is believed from the server's journal, not from
the client. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import free_port, node, npm_folder, python_folder, quietly

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
CACHE = HERE.parent.parent / "target" / "interop"
TRANSPORTS = ("stdio", "http")
BEHAVIOURS = ("tools", "progress", "elicitation", "resource", "prompt", "cancel", "task", "typed error")
START_DEADLINE = 20.0
CLIENT_DEADLINE = 180.0

PYTHONS = {
    "python_2": ["mcp==2.3.0"],
    "python_1": ["mcp==1.30.0"],
    "fastmcp_4": ["fastmcp==4.1.2", "fastmcp-tasks==4.1.2", "mcp==2.3.0"],
}
# The row's name, the program, and the era it is asked to speak.
ROWS = (
    ("Python SDK 2.3.0, 2026-07-28", "python_2.py", "auto"),
    ("Python SDK 2.3.0, 2025-11-25", "python_2.py", "legacy"),
    ("Python SDK 1.30.0, 2025-11-25", "python_1.py", "legacy"),
    ("TypeScript client 2.4.0, 2026-07-28", "typescript_2.mjs", "auto"),
    ("TypeScript client 2.4.0, 2025-11-25", "typescript_2.mjs", "legacy"),
    ("TypeScript SDK 1.32.2, 2025-11-25", "typescript_1.mjs", "legacy"),
    ("rmcp 3.9.0, 2026-07-28", "rmcp", "auto"),
    ("rmcp 3.9.0, 2025-11-25", "rmcp", "legacy"),
    ("FastMCP 4.1.2, 2026-07-28", "fastmcp_4.py", "auto"),
    ("FastMCP 4.1.2, 2025-11-25", "fastmcp_4.py", "legacy"),
    ("Inspector 2.12.0 command line, 2026-07-28", "inspector.py", "auto"),
    ("Inspector 2.12.0 command line, 2025-11-25", "inspector.py", "legacy"),
)


def install(programs: set[str], environment: dict[str, str], npm: list[str]) -> None:
    """Install what the wanted programs need."""
    for name, packages in PYTHONS.items():
        if f"{name}.py" in programs:
            python_folder(CACHE / name, packages)
    if programs & {"typescript_1.mjs", "typescript_2.mjs", "inspector.py"}:
        npm_folder(CACHE / "npm", CLIENTS, npm, environment)
    if "rmcp" in programs:
        manifest = str(HERE / "rmcp" / "Cargo.toml")
        target = {"CARGO_TARGET_DIR": str(CACHE / "rmcp")}
        quietly(["cargo", "build", "--locked", "--quiet", "--manifest-path", manifest], env={**environment, **target})


def command(program: str) -> list[str]:
    """Return the command that starts a client."""
    if program == "rmcp":
        return [str(CACHE / "rmcp" / "debug" / "interop-rmcp")]
    if program.endswith(".mjs"):
        return ["node", str(CACHE / "npm" / program)]
    venv = CACHE / Path(program).stem
    python = str(venv / "bin" / "python") if venv.exists() else sys.executable
    return [python, str(CLIENTS / program)]


def wait_for(log: Path, server: subprocess.Popen[bytes]) -> None:
    """Return once the server says that it serves; fail when it dies or the deadline passes."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the server exited with {server.returncode}:\n{log.read_text()}")
        if "a key was made" in log.read_text():
            return
        time.sleep(0.05)
    sys.exit("the server did not start in time")


class Meeting:
    """One client on one transport."""

    def __init__(self, row: int, transport: str, scratch: Path, http: dict[str, str]) -> None:
        """Prepare what the client is told."""
        self.name, self.program, era = ROWS[row]
        self.transport = transport
        self.label = f"{row}-{transport}"
        self.folder = scratch / ("http" if transport == "http" else self.label)
        home = scratch / f"home-{self.label}"
        for folder in (self.folder, home):
            folder.mkdir(exist_ok=True)
        self.asked = {
            "transport": transport,
            "era": era,
            "label": self.label,
            "journal": str(self.folder / "journal"),
            "home": str(home),
            "programs": str(CACHE / "npm" / "node_modules" / ".bin"),
            "command": [sys.executable, str(HERE / "server.py"), str(self.folder)],
            **http,
        }
        self.found: dict[str, dict[str, str]] = {}
        self.errors = ""

    def take_place(self, environment: dict[str, str]) -> None:
        """Run the client and judge what it says."""
        run = [*command(self.program), json.dumps(self.asked)]
        client = subprocess.Popen(
            run,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, self.errors = client.communicate(timeout=CLIENT_DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(client.pid, signal.SIGKILL)
            out, self.errors = client.communicate()
        for line in out.splitlines():
            said = json.loads(line)
            self.found[said["behaviour"]] = said
        missing = {"result": "FAIL", "why": f"the client ended with {client.returncode} before it came to this"}
        for behaviour in BEHAVIOURS:
            self.found.setdefault(behaviour, {"behaviour": behaviour, **missing})
        if self.found["cancel"]["result"] == "pass" and not self.was_cancelled():
            self.found["cancel"].update(result="FAIL", why="the server's journal does not say so")

    def was_cancelled(self) -> bool:
        """Say whether the journal has the tool's start, and then its end, while the client was still there to see."""
        lines = (self.folder / "journal").read_text().splitlines()
        mine = [line.split()[0] for line in lines if line.split()[1] == self.label and "brewing" not in line]
        wanted = ["started", "cancelled"]
        if self.program != "inspector.py":
            wanted = ["started", "witnessed-started", "cancelled", "witnessed-cancelled"]
        return mine == wanted


def table(meetings: list[Meeting]) -> str:
    """Return the matrix, and under it the reasons."""
    signs = {"pass": "pass", "not offered": "-", "FAIL": "FAIL"}
    widths = [max(len(name) for name in BEHAVIOURS)] * len(BEHAVIOURS)
    first = max(len(name) for name, _, _ in ROWS) + 8
    lines = ["".ljust(first) + " ".join(name.ljust(width) for name, width in zip(BEHAVIOURS, widths, strict=True))]
    reasons: dict[str, dict[str, None]] = {}
    for meeting in meetings:
        cells = [
            signs[meeting.found[name]["result"]].ljust(width) for name, width in zip(BEHAVIOURS, widths, strict=True)
        ]
        lines.append(f"{meeting.name}, {meeting.transport}".ljust(first) + " ".join(cells))
        for name in BEHAVIOURS:
            said = meeting.found[name]
            if said["result"] != "pass":
                where = f"{meeting.name}, {meeting.transport}" if said["result"] == "FAIL" else meeting.name
                names = reasons.setdefault(f"{said['result']}: {where}: {said['why']}", {})
                names[name] = None
    return "\n".join([*lines, "", *(f"{reason} ({', '.join(names)})" for reason, names in reasons.items())])


def main() -> int:
    """Install, serve, let every client meet the server, print, and return 1 if something failed."""
    parser = argparse.ArgumentParser(description="Clients that others wrote, against our server.")
    parser.add_argument("--only", help="programs, with commas between: python_2, typescript_1, rmcp, ...")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else None
    rows = [row for row, (_, program, _) in enumerate(ROWS) if only is None or Path(program).stem in only]
    environment = dict(os.environ)
    folder, npm = node()
    environment["PATH"] = os.pathsep.join(filter(None, (folder, environment.get("PATH", ""))))
    install({ROWS[row][1] for row in rows}, environment, npm)
    scratch = Path(tempfile.mkdtemp(prefix="bartizan-interop-"))
    (scratch / "http").mkdir()
    port = free_port()
    serve = [sys.executable, str(HERE / "server.py"), str(scratch / "http"), "--http", f"127.0.0.1:{port}"]
    with (scratch / "server.log").open("wb") as log:
        server = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(scratch / "server.log", server)
        key = (scratch / "http" / "state" / "http.key").read_text().strip()
        http = {"url": f"http://127.0.0.1:{port}/mcp", "key": key}
        meetings = [Meeting(row, transport, scratch, http) for row in rows for transport in TRANSPORTS]
        with concurrent.futures.ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(lambda meeting: meeting.take_place(environment), meetings))
    finally:
        server.terminate()
        server.wait(10)
    failed = [meeting for meeting in meetings if any(said["result"] == "FAIL" for said in meeting.found.values())]
    if options.json:
        listed = [
            {"client": meeting.name, "transport": meeting.transport, "behaviours": list(meeting.found.values())}
            for meeting in meetings
        ]
        sys.stdout.write(json.dumps(listed, indent=1) + "\n")
    else:
        sys.stdout.write(table(meetings) + "\n")
    for meeting in failed:
        sys.stderr.write(
            f"\n--- {meeting.name}, {meeting.transport}, on its standard error:\n{meeting.errors[-4000:]}\n"
        )
    if failed:
        sys.stderr.write(f"\nthe server's log is {scratch / 'server.log'}\n")
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
