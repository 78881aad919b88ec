"""Measure bartizan beside its peers in one run and print ratios.

usage: run.py PEERS_FOLDER [--rounds N] [--seconds N] [--only NAME,...] [--json FILE]

PEERS_FOLDER holds the peers (rust-peers, peer_fastmcp.py, peer_python_sdk.py, call_echo.lua, stdio_bench.py). The Rust
peers are built once into target/bench. Every figure of ours is taken with the whole line on: API key, policy, limits,
redaction, and an audit file. Rounds are interleaved (ours, peer, ours, peer, ...) and the median of each is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILT = HERE.parent.parent / "target" / "bench"
CONNECTIONS = 32
UNLIMITED = "{ per_minute = 1000000000, burst = 1000000000 }"
REVISION = "2026-07-28"
FABRIC_OPERATIONS = 194
CALL = {"message": "hello world, this is a message"}


class Bench:
    """One run: where the peers are, how long to measure, and what was found."""

    def __init__(self, peers: Path, rounds: int, seconds: int) -> None:
        """Remember the settings and make a scratch folder."""
        self.peers = peers
        self.rounds = rounds
        self.seconds = seconds
        self.scratch = Path(tempfile.mkdtemp(prefix="bartizan-bench-"))
        self.found: list[dict[str, object]] = []
        (self.scratch / "bartizan.toml").write_text(
            f"diagnostics = true\n[limits]\nread = {UNLIMITED}\nwrite = {UNLIMITED}\n"
            f'[policy]\nset = "admin"\n[audit]\npath = "{self.scratch / "audit.jsonl"}"\n'
        )
        (self.scratch / "echo.py").write_text((HERE / "echo_server.py").read_text())
        self.environment = {**os.environ, "BARTIZAN_STATE_DIR": str(self.scratch / "state")}

    def report(self, name: str, ours: float, peer: float, unit: str, wanted: str, *, reached: bool) -> None:
        """Keep and print one comparison."""
        ratio = ours / peer if peer else float("nan")
        self.found.append(
            {
                "name": name,
                "ours": ours,
                "peer": peer,
                "unit": unit,
                "ratio": ratio,
                "wanted": wanted,
                "reached": reached,
            }
        )
        mark = "ok  " if reached else "MISS"
        sys.stdout.write(
            f"{mark} {name}: {ours:,.1f} {unit} against {peer:,.1f}, ratio {ratio:.2f} (wanted {wanted})\n"
        )
        sys.stdout.flush()

    @contextlib.contextmanager
    def running(self, command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run a server until the block ends; it is ready when its port accepts."""
        server = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if server.poll() is not None:
                    sys.exit(f"{command[0]} exited with {server.returncode}")
                time.sleep(0.05)
            yield server
        finally:
            server.terminate()
            server.wait(10)

    def key(self) -> str:
        """Return the API key that the server minted."""
        return (self.scratch / "state" / "http.key").read_text().strip()

    def wrk(self, port: int, *, key: str = "", seconds: int | None = None) -> dict[str, float]:
        """Load an endpoint and return requests a second and latencies in milliseconds."""
        environment = dict(self.environment)
        if key:
            environment["BARTIZAN_KEY"] = key
        command = [
            "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds or self.seconds}s", "--latency",
            "-s", str(self.peers / "call_echo.lua"), f"http://127.0.0.1:{port}/mcp",
        ]  # fmt: skip
        text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in text:
            sys.exit(f"port {port} answered with errors:\n{text}")
        if key:
            # A refusal is an answer with status 200: what was measured has to be the tool's own words.
            said = self.ask(port, "tools/call", {"name": "echo", "arguments": CALL}, name="echo", key=key)
            if said.get("result", {}).get("isError") or CALL["message"] not in json.dumps(said.get("result")):
                sys.exit(f"port {port} does not echo: {said}")
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))  # type: ignore[union-attr]
        return {"rate": rate}

    def ask(
        self, port: int, method: str, params: dict[str, object], *, name: str = "", key: str = ""
    ) -> dict[str, Any]:
        """Send one request of the newest revision to one of our servers and return the answer."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {
            "Authorization": f"Bearer {key or self.key()}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": method,
            **({"Mcp-Name": name} if name else {}),
        }
        request = urllib.request.Request(f"http://127.0.0.1:{port}/mcp", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own address
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def stdio(self, command: list[str], *, calls: int = 5000) -> dict[str, float]:
        """Start a stdio server and time it with the shared script."""
        run = [sys.executable, str(self.peers / "stdio_bench.py"), "-n", str(calls), "--", *command]
        done = subprocess.run(run, env=self.environment, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    def bartizan(self, *arguments: str) -> list[str]:
        """Return our command with the benchmark's configuration."""
        program = shutil.which("bartizan") or "bartizan"
        return [program, "serve", "--config", str(self.scratch / "bartizan.toml"), *arguments]

    def rust_peer(self, name: str) -> str:
        """Return the path of a Rust peer, built when it is not there yet."""
        path = BUILT / "release" / name
        if not path.exists():
            source = BUILT / "source"
            shutil.copytree(self.peers / "rust-peers", source, dirs_exist_ok=True)
            for item in (source, *source.rglob("*")):
                item.chmod(item.stat().st_mode | 0o200)
            build = ["cargo", "build", "--release", "--target-dir", str(BUILT)]
            subprocess.run(build, cwd=source, check=True)
        return str(path)

    def http_echo(self) -> None:
        """Compare the built-in echo over HTTP with rmcp's bare server and with the axum floor."""
        port = 8111
        ours, floor, rmcp = [], [], []
        with (
            self.running(self.bartizan("--http", f"127.0.0.1:{port}"), port),
            self.running([self.rust_peer("floor_http")], 8100),
            self.running([self.rust_peer("rmcp_http")], 8101),
        ):
            for _ in range(self.rounds):
                ours.append(self.wrk(port, key=self.key())["rate"])
                floor.append(self.wrk(8100)["rate"])
                rmcp.append(self.wrk(8101)["rate"])
        mine = statistics.median(ours)
        self.report(
            "HTTP echo / rmcp",
            mine,
            statistics.median(rmcp),
            "calls/s",
            ">= 1",
            reached=mine >= statistics.median(rmcp),
        )
        base = statistics.median(floor)
        self.report("HTTP echo / axum floor", mine, base, "calls/s", ">= 0.5", reached=mine >= base / 2)

    def gate(self) -> None:
        """Compare the echo with Cedar, limits and audit on with a server that allows all and writes nothing down."""
        port, plain_port = 8116, 8117
        ours, plain, rmcp = [], [], []
        path = self.scratch / "plain.toml"
        allow = self.scratch / "allow.cedar"
        allow.write_text('@id("all")\npermit (principal, action, resource);\n')
        path.write_text(
            f'profile = "development"\nstateless = true\ndiagnostics = true\n[policy]\nset = "{allow}"\n'
            f"[limits]\nread = {UNLIMITED}\nwrite = {UNLIMITED}\n"
        )
        program = shutil.which("bartizan") or "bartizan"
        bare = [program, "serve", "--config", str(path), "--http", f"127.0.0.1:{plain_port}"]
        with (
            self.running(self.bartizan("--http", f"127.0.0.1:{port}"), port),
            self.running(bare, plain_port),
            self.running([self.rust_peer("rmcp_http")], 8101),
        ):
            # what a server without a trace on the disk remembers lies in memory
            found = Path("/dev/shm").glob("bartizan-*/http.key")  # noqa: S108 - its own place
            its_key = max(found, key=lambda path: path.stat().st_mtime).read_text().strip()
            for _ in range(self.rounds):
                ours.append(self.wrk(port, key=self.key())["rate"])
                plain.append(self.wrk(plain_port, key=its_key)["rate"])
                rmcp.append(self.wrk(8101)["rate"])
        mine, without, peer = (statistics.median(rates) for rates in (ours, plain, rmcp))
        self.report("HTTP echo / without a gate", mine, without, "calls/s", ">= 0.8", reached=mine >= 0.8 * without)
        self.report("HTTP echo, gated / rmcp", mine, peer, "calls/s", "> 1", reached=mine > peer)

    def http_python(self) -> None:
        """Compare a sync Python echo over HTTP with FastMCP and the Python SDK."""
        port = 8112
        ours, fast, sdk = [], [], []
        echo = str(self.scratch / "echo.py")
        with (
            self.running(self.python_server("--tools", echo, "--http", f"127.0.0.1:{port}"), port),
            self.running([sys.executable, str(self.peers / "peer_fastmcp.py")], 8102),
            self.running([sys.executable, str(self.peers / "peer_python_sdk.py")], 8103),
        ):
            for _ in range(self.rounds):
                ours.append(self.wrk(port, key=self.key())["rate"])
                fast.append(self.wrk(8102)["rate"])
                sdk.append(self.wrk(8103)["rate"])
        mine = statistics.median(ours)
        peer = statistics.median(fast)
        self.report("HTTP Python echo / FastMCP", mine, peer, "calls/s", ">= 20", reached=mine >= 20 * peer)
        peer = statistics.median(sdk)
        self.report("HTTP Python echo / Python SDK", mine, peer, "calls/s", ">= 10", reached=mine >= 10 * peer)

    def python_server(self, *arguments: str) -> list[str]:
        """Return our command without the built-in echo, which would clash with the Python one."""
        path = self.scratch / "python.toml"
        path.write_text((self.scratch / "bartizan.toml").read_text().replace("diagnostics = true\n", ""))
        program = shutil.which("bartizan") or "bartizan"
        return [program, "serve", "--config", str(path), *arguments]

    def stdio_calls(self) -> None:
        """Compare stdio: Python echo pipelined with FastMCP, built-in echo one at a time with rmcp."""
        echo = str(self.scratch / "echo.py")
        ours_python, fast, ours, rmcp = [], [], [], []
        for _ in range(self.rounds):
            ours_python.append(self.stdio(self.python_server("--tools", echo), calls=20000)["calls_per_s"])
            fast.append(
                self.stdio([sys.executable, str(self.peers / "peer_fastmcp.py"), "stdio"], calls=2000)["calls_per_s"]
            )
            ours.append(self.stdio(self.bartizan())["p50_us"])
            rmcp.append(self.stdio([self.rust_peer("rmcp_stdio")])["p50_us"])
        mine, peer = statistics.median(ours_python), statistics.median(fast)
        self.report("stdio Python echo, pipelined / FastMCP", mine, peer, "calls/s", ">= 20", reached=mine >= 20 * peer)
        mine, peer = statistics.median(ours), statistics.median(rmcp)
        self.report("stdio echo p50 / rmcp", mine, peer, "us", "<= 2", reached=mine <= 2 * peer)

    def start(self) -> None:
        """Compare the time from start to the tools/list answer, Equinix enabled, with `python -c pass`."""
        ours, bare = [], []
        for _ in range(max(self.rounds, 9)):
            ours.append(self.stdio(self.bartizan("--connector", "equinix"), calls=64)["start_to_tools_list_ms"])
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            bare.append((time.perf_counter() - begin) * 1e3)
        mine, peer = statistics.median(ours), statistics.median(bare)
        self.report("stdio start to tools/list / python -c pass", mine, peer, "ms", "<= 3", reached=mine <= 3 * peer)

    def memory(self) -> None:
        """Measure resident memory after 50,000 and 100,000 calls."""
        port = 8113

        def resident(process: subprocess.Popen[bytes]) -> float:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]

        def calls(amount: int) -> None:
            done = 0.0
            while done < amount:
                done += self.wrk(port, key=self.key(), seconds=1)["rate"]

        halves, wholes = [], []
        for _ in range(self.rounds):
            with self.running(self.bartizan("--http", f"127.0.0.1:{port}", "--connector", "equinix"), port) as server:
                calls(50_000)
                halves.append(resident(server))
                calls(50_000)
                wholes.append(resident(server))
        half, whole = statistics.median(halves), statistics.median(wholes)
        self.report("resident memory after 100,000 calls / 60 MB", whole, 60, "MB", "< 1", reached=whole < 60)
        self.report("memory at 100,000 calls / at 50,000", whole, half, "MB", "<= 1.02", reached=whole <= half * 1.02)

    def document(self) -> None:
        """Time loading the 1.7 MB Fabric document, less the start of the command itself."""
        document = self.peers.parent / "specs" / "equinix" / "fabricv4.patched.yaml"
        program = shutil.which("bartizan") or "bartizan"
        load = [
            program,
            "tools",
            "--openapi",
            str(document),
            "--base-url",
            "https://api.example.com",
            "--full",
            "--json",
        ]
        with_document: list[float] = []
        without: list[float] = []
        for _ in range(self.rounds):
            for command, into in ((load, with_document), ([program, "--version"], without)):
                begin = time.perf_counter()
                subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)
                into.append(time.perf_counter() - begin)
        mine = statistics.median(with_document) - statistics.median(without)
        self.report("load and list the Fabric document / 0.4 s", mine, 0.4, "s", "< 1", reached=mine < 0.4)
        port = 8115
        serve = [
            "--search",
            "off",
            "--openapi",
            str(document),
            "--base-url",
            "https://api.example.com",
            "--http",
            f"127.0.0.1:{port}",
        ]
        path = self.scratch / "whole.toml"
        path.write_text((self.scratch / "bartizan.toml").read_text() + "[server]\npage_size = 1000\n")
        with self.running([program, "serve", "--config", str(path), *serve], port):
            lists = []
            for _ in range(10 * self.rounds):
                begin = time.perf_counter()
                tools = self.ask(port, "tools/list", {})["result"]["tools"]
                lists.append(time.perf_counter() - begin)
        if len(tools) < FABRIC_OPERATIONS:
            sys.exit(f"only {len(tools)} tools are listed")
        repeated = statistics.median(lists)
        self.report(
            "tools/list of its tools over HTTP / loading it", repeated * 1e3, mine * 1e3, "ms", "<= 0.1",
            reached=repeated <= mine / 10,
        )  # fmt: skip

    def imports(self) -> None:
        """Time `import bartizan` over a bare interpreter."""
        importing: list[float] = []
        bare: list[float] = []
        for _ in range(max(self.rounds, 9)):
            for code, into in (("import bartizan", importing), ("pass", bare)):
                begin = time.perf_counter()
                subprocess.run([sys.executable, "-c", code], check=True)
                into.append((time.perf_counter() - begin) * 1e3)
        mine = statistics.median(importing) - statistics.median(bare)
        self.report("import bartizan, over a bare interpreter / 15 ms", mine, 15, "ms", "< 1", reached=mine < 15)

    def tail(self) -> None:
        """Measure p99 against p50 at half the peak rate, with oha when it is installed."""
        oha = shutil.which("oha")
        if oha is None:
            sys.exit("p99 at half the peak needs oha; install it with: cargo install oha")
        port = 8114
        body = re.search(r"wrk\.body = '(.*)'", (self.peers / "call_echo.lua").read_text()).group(1)  # type: ignore[union-attr]
        with self.running(self.bartizan("--http", f"127.0.0.1:{port}"), port):
            peak = self.wrk(port, key=self.key())["rate"]
            headers = {
                "Authorization": f"Bearer {self.key()}",
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/call",
                "Mcp-Name": "echo",
            }
            command = [
                oha,
                "-z",
                f"{self.seconds}s",
                "-q",
                str(int(peak / 2)),
                "-c",
                str(CONNECTIONS),
                "-m",
                "POST",
                "-d",
                body,
            ]
            command += [item for name, value in headers.items() for item in ("-H", f"{name}: {value}")]
            command += ["--no-tui", "--output-format", "json", f"http://127.0.0.1:{port}/mcp"]
            spreads = []
            for _ in range(self.rounds):
                done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                if done["summary"]["successRate"] < 1:
                    sys.exit(f"port {port} failed under half of its peak")
                spreads.append(done["latencyPercentiles"])
        slow, usual = (statistics.median(spread[name] for spread in spreads) * 1e3 for name in ("p99", "p50"))
        self.report("p99 at half the peak / p50", slow, usual, "ms", "< 5", reached=slow < 5 * usual)

    def parts(self) -> dict[str, Callable[[], None]]:
        """Return the rows by name."""
        return {
            "http-echo": self.http_echo,
            "gate": self.gate,
            "http-python": self.http_python,
            "stdio": self.stdio_calls,
            "start": self.start,
            "memory": self.memory,
            "document": self.document,
            "imports": self.imports,
            "tail": self.tail,
        }


def main(kind: type[Bench] = Bench) -> int:
    """Run what was asked for and return 0 only if every figure was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bench = kind(arguments.peers.resolve(), arguments.rounds, arguments.seconds)
    parts = bench.parts()
    wanted = [name for name in arguments.only.split(",") if name] or list(parts)
    for name in wanted:
        parts[name]()
    if arguments.json:
        arguments.json.write_text(json.dumps(bench.found, indent=2))
    return 0 if all(row["reached"] for row in bench.found) else 1


if __name__ == "__main__":
    sys.exit(main())
