"""Let a real authorization server, a person and machines meet a server that accepts its tokens, and print the checks.

usage: oauth.py

The authorization server is oidc-provider (pinned in oauth/package-lock.json), the person the official Python SDK, the
machines and the thief a script with jose. Each prints a line for each check; the exit code is 1 if anything failed.
Must not: know how a token is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import free_port, node, npm_folder, python_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent / "oauth"
CACHE = HERE.parent.parent.parent / "target" / "interop"
PERSON = ["mcp==2.3.0"]
START_DEADLINE = 30.0
CLIENT_DEADLINE = 120.0
CONFIG = """\
state_dir = "state"
policy = "admin"
diagnostics = true
offer = {{ beyond_scopes = true }}
tools = ["tools.py"]

[http]
listen = "127.0.0.1:{port}"

[egress]
allow_private = ["127.0.0.1:{authority}"]

[oauth]
public_url = "http://127.0.0.1:{port}/mcp"
keys_refresh_seconds = 1
introspection_ttl_seconds = 1

[[oauth.issuers]]
issuer = "http://127.0.0.1:{authority}"
name = "test"
{more}
"""
INTROSPECTION = """\
introspection = {{ endpoint = "http://127.0.0.1:{authority}/token/introspection", client_id = "asker", \
client_secret = "env:ASKER_SECRET" }}
"""


def install(environment: dict[str, str], npm: list[str]) -> None:
    """Install what the scripts need, once."""
    npm_folder(CACHE / "oauth", HERE, npm, environment)
    python_folder(CACHE / "python_2", PERSON)


def wait_for(log: Path, words: str, program: subprocess.Popen[bytes]) -> None:
    """Return once a program says these words; fail when it dies or the deadline passes."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if program.poll() is not None:
            sys.exit(f"a program exited with {program.returncode}:\n{log.read_text()}")
        if words in log.read_text():
            return
        time.sleep(0.05)
    sys.exit(f"a program did not start in time:\n{log.read_text()}")


@contextlib.contextmanager
def running(command: list[str], log: Path, words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block."""
    with log.open("wb") as out:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
    try:
        wait_for(log, words, program)
        yield program
    finally:
        program.terminate()
        program.wait(15)


class Checks:
    """What came of the checks."""

    def __init__(self) -> None:
        """Begin with none."""
        self.failed = 0
        self.count = 0

    def note(self, said: dict[str, str]) -> None:
        """Print one."""
        self.count += 1
        self.failed += said["result"] != "pass"
        sys.stdout.write(f"{said['result']:5} {said['check']}{': ' if said['why'] else ''}{said['why']}\n")

    def client(self, command: list[str], asked: dict[str, str], environment: dict[str, str]) -> list[dict[str, str]]:
        """Run a client, and note what it says; the rest of what it says is returned."""
        done = subprocess.run(
            [*command, json.dumps(asked)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_DEADLINE,
            check=False,
        )
        said = [json.loads(line) for line in done.stdout.splitlines()]
        for one in said:
            if "check" in one:
                self.note(one)
        if done.returncode or not said:
            name = Path(command[-1]).name
            why = f"it ended with {done.returncode}:\n{done.stderr[-3000:]}"
            self.note({"check": f"{name} goes through", "result": "FAIL", "why": why})
        return [one for one in said if "check" not in one]


def site(scratch: Path, name: str, port: int, authority: int, more: str) -> Path:
    """Write a server's folder."""
    folder = scratch / name
    folder.mkdir()
    shutil.copy(HERE / "tools.py", folder)
    (folder / "bartizan.toml").write_text(CONFIG.format(port=port, authority=authority, more=more))
    return folder


def main() -> int:
    """Install, serve, let everybody meet, print, and return 1 if something failed."""
    environment = dict(os.environ)
    folder, npm = node()
    environment["PATH"] = os.pathsep.join(filter(None, (folder, environment.get("PATH", ""))))
    environment["ASKER_SECRET"] = "asker-secret-of-the-tests"  # noqa: S105
    install(environment, npm)
    scratch = Path(tempfile.mkdtemp(prefix="bartizan-oauth-"))
    authority, port, second = free_port(), free_port(), free_port()
    authorize = ["node", str(CACHE / "oauth" / "authority.mjs"), str(authority)]
    machines = ["node", str(CACHE / "oauth" / "machines.mjs")]
    person = [str(CACHE / "python_2" / "bin" / "python"), str(HERE / "person.py")]
    issuer = f"http://127.0.0.1:{authority}"
    asked = {"authority": issuer, "resource": f"http://127.0.0.1:{port}/mcp"}
    checks = Checks()
    folder_of = site(scratch, "signed", port, authority, "")
    serve = [sys.executable, "-m", "bartizan", "serve", "--config", "bartizan.toml"]
    with running(serve, scratch / "signed.log", f"127.0.0.1:{port}", cwd=folder_of, env=environment):
        with running(authorize, scratch / "authority.log", "ready", env=environment):
            checks.client(person, asked, environment)
            checks.client(machines, asked, environment)
            old = checks.client(machines, {**asked, "only": "plain"}, environment)
        # the same issuer with other keys; the server that accepts its tokens runs on
        with running(authorize, scratch / "authority-2.log", "ready", env=environment):
            time.sleep(1.1)  # keys_refresh_seconds above
            checks.client(machines, {**asked, "only": "plain"}, environment)
            gone = refused(asked["resource"], old[0]["token"] if old else "")
            result, why = ("pass", "") if gone else ("FAIL", "it still opens the door")
            checks.note({"check": "refused: a token of a key that was replaced", "result": result, "why": why})
            other = {"authority": issuer, "resource": f"http://127.0.0.1:{second}/mcp"}
            folder_of = site(scratch, "asked", second, authority, INTROSPECTION.format(authority=authority))
            with running(serve, scratch / "asked.log", f"127.0.0.1:{second}", cwd=folder_of, env=environment):
                checks.client(machines, {**other, "only": "opaque"}, environment)
    sys.stdout.write(f"{checks.count - checks.failed} of {checks.count} pass\n")
    if checks.failed or checks.count < 20:
        sys.stderr.write(f"the logs are in {scratch}\n")
        return 1
    shutil.rmtree(scratch, ignore_errors=True)
    return 0


def refused(resource: str, token: str) -> bool:
    """Say whether a token opens nothing."""
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(resource)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }
    connection.request("POST", place.path, "{}", headers)
    return connection.getresponse().status == 401


if __name__ == "__main__":
    sys.exit(main())
