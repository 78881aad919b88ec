"""Measure what large API documents cost: loading, memory, finding and listing tools, and what a call adds.

usage: api.py PEERS_FOLDER [--rounds N] [--seconds N] [--only NAME,...] [--json FILE]

The documents are made by documents.py, and those under ../shared/specs are measured too when they are there. Every figure
is taken with the whole line on, as in run.py. PROGRAM in the environment names another bartizan; BENCH another
connector-bench than the one that is built from tests/bench/connector.rs.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import documents
from bench.run import BUILT, CONNECTIONS, HERE, REVISION, Bench, main
from programs import free_port

BASE = "https://api.example.com/v1"
MOST_PAGES = 100
LARGE = 5
UPSTREAM_MS = 5
CALL = """
openapi: 3.0.3
info: {title: widgets, version: "1"}
paths:
  /widgets/{id}:
    get:
      operationId: get_widget
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses:
        "200": {description: Done., content: {application/json: {schema: {type: object}}}}
"""


class Api(Bench):
    """The rows about large documents."""

    @functools.cache  # noqa: B019 - one run, one object
    def document(self, name: str) -> Path:  # type: ignore[override]
        """Return the path of a made document, written once for each run."""
        return documents.write(Path(name).stem, self.scratch / name)

    def specs(self) -> list[Path]:
        """Return the shared documents, unpacked, the largest first."""
        found = []
        for path in (self.peers.parent / "specs").glob("*/*"):
            if path.name.endswith((".yaml", ".json.gz")) or (path.suffix == ".json" and "beta." not in path.name):
                plain = self.scratch / path.name.removesuffix(".gz")
                plain.write_bytes(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
                found.append(plain)
        return sorted(found, key=lambda path: path.stat().st_size, reverse=True)

    @contextlib.contextmanager
    def serving(self, *files: Path, base: str = BASE, more: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Serve documents until the block ends; the port accepts when everything is loaded."""
        port = free_port()
        path = self.scratch / f"api-{port}.toml"
        sources = "".join(
            f'[[openapi]]\nfile = "{file}"\nname = "api{at}"\nbase_url = "{base}"\n' for at, file in enumerate(files)
        )
        text = (self.scratch / "bartizan.toml").read_text().replace("diagnostics = true\n", "")
        path.write_text(f"{text}{more}\n{sources}")
        command = [self.program(), "serve", "--config", str(path), "--http", f"127.0.0.1:{port}"]
        log = path.with_suffix(".log").open("w")
        server = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0 and (self.scratch / "state" / "http.key").exists():
                        break
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"the server did not start: {path.with_suffix('.log').read_text()}")
                time.sleep(0.002)
            yield server, port
        finally:
            server.terminate()
            server.wait(20)
            log.close()

    def talk(self, port: int) -> Callable[..., dict[str, Any]]:
        """Return a way to ask a server over one connection that stays open."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        key = self.key()

        def ask(method: str, params: dict[str, object], name: str = "") -> dict[str, Any]:
            headers = {
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": REVISION,
                "Mcp-Method": method,
                **({"Mcp-Name": name} if name else {}),
            }
            connection.request("POST", "/mcp", body(method, params), headers)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            if "result" not in answer or answer["result"].get("isError"):
                sys.exit(f"{method} was answered with {json.dumps(answer)[:500]}")
            return dict(answer["result"])

        return ask

    def loading(self) -> None:
        """Time the start of a server with one large document, and take its memory."""
        yaml = [path for path in self.specs() if path.suffix == ".yaml"][:1]
        rows = [
            *((path, 0.4, 200) for path in yaml),
            (self.document("rich.json"), 2.5, 1000),
            (self.document("rich.yaml"), 2.5, 1000),
            (self.document("vast.json"), 10.0, 1000),
        ]
        for path, wanted, most in rows:
            times, peaks = [], []
            with self.serving():
                pass
            for _ in range(self.rounds):
                begin = time.perf_counter()
                with self.serving(path) as (server, port):
                    times.append(time.perf_counter() - begin)
                    self.talk(port)("tools/list", {})
                    peaks.append(memory(server, "VmHWM"))
            took, peak = min(times), max(peaks)
            size = f"{path.name}, {path.stat().st_size / 1e6:.1f} MB"
            self.report(f"start with {size}", took, wanted, "s", f"< {wanted} s", reached=took < wanted)
            self.report(f"most memory with {size}", peak, most, "MB", f"< {most} MB", reached=peak < most)

    def resident(self) -> None:
        """Measure the memory of a server with five large documents, before and after it was used."""
        files = [self.document("rich.json"), *self.specs()][:LARGE]
        files += [self.document("many.json")] * (LARGE - len(files))
        idle, used = [], []
        for _ in range(self.rounds):
            with self.serving(*files) as (server, port):
                ask = self.talk(port)
                ask("tools/list", {})
                time.sleep(2)
                idle.append(memory(server, "VmRSS"))
                for thing in documents.THINGS:
                    found = ask("tools/call", call("find_tools", query=f"update the {thing}"), "find_tools")
                    for tool in found["structuredContent"]["tools"][:2]:
                        ask("tools/call", call("describe_tool", name=tool["name"]), "describe_tool")
                time.sleep(2)
                used.append(memory(server, "VmRSS"))
        size = sum(path.stat().st_size for path in files) / 1e6
        name = f"memory with five documents, {size:.0f} MB"
        for when, values in (("loaded", idle), ("used", used)):
            most = statistics.median(values)
            self.report(f"{name}, {when}", most, 200, "MB", "< 200 MB", reached=most < 200)

    def finding(self) -> None:
        """Time `find_tools` over 5,000 tools, HTTP included, and the first of all, which reads them."""
        with self.serving(self.document("many.json")) as (_, port):
            ask = self.talk(port)
            ask("tools/list", {})
            begin = time.perf_counter()
            ask("tools/call", call("find_tools", query="restart a device"), "find_tools")
            first = time.perf_counter() - begin
            times = []
            for _ in range(self.rounds):
                for thing in documents.THINGS:
                    begin = time.perf_counter()
                    found = ask("tools/call", call("find_tools", query=f"list every {thing} of ours"), "find_tools")
                    times.append(time.perf_counter() - begin)
                    if not found["structuredContent"]["tools"]:
                        sys.exit(f"nothing was found for {thing}")
        half = statistics.median(times) * 1e3
        self.report("find_tools over 5,000 tools", half, 2, "ms", "< 2 ms", reached=half < 2)
        self.report("the first of all", first * 1e3, 1000, "ms", "< 1 s", reached=first < 1)

    def pages(self) -> None:
        """Measure pages of fifty tools a second, of 5,000 tools, over HTTP."""
        more = '[offer]\nsearch = "off"\n[server]\npage_size = 50\n'
        with self.serving(self.document("many.json"), more=more) as (_, port):
            ask = self.talk(port)
            bodies: list[str] = []
            cursor, bytes_ = None, 0
            while len(bodies) < MOST_PAGES:
                params: dict[str, object] = {"cursor": cursor} if cursor else {}
                bodies.append(body("tools/list", params))
                page = ask("tools/list", params)
                bytes_ += len(json.dumps(page))
                cursor = page.get("nextCursor")
                if cursor is None:
                    break
            (self.scratch / "bodies").write_text("\n".join(bodies) + "\n")
            environment = {**self.environment, "BARTIZAN_KEY": self.key(), "BODIES": str(self.scratch / "bodies")}
            command = [
                "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{self.seconds}s",
                "-s", str(HERE / "list_pages.lua"), f"http://127.0.0.1:{port}/mcp",
            ]  # fmt: skip
            rates = []
            for _ in range(self.rounds):
                text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                if "Non-2xx" in text:
                    sys.exit(f"the pages were answered with errors:\n{text}")
                rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)))  # type: ignore[union-attr]
        rate = statistics.median(rates)
        name = f"tools/list, pages of 50 of 5,000, {bytes_ / len(bodies) / 1e3:.0f} kB each"
        self.report(name, rate, 5000, "pages/s", ">= 5,000", reached=rate >= 5000)

    def adding(self) -> None:
        """Compare a read call through a connector with bare reqwest, against an upstream that takes 5 ms."""
        program = self.bench_program()
        file = self.scratch / "widgets.yaml"
        file.write_text(CALL)
        port = free_port()
        upstream = subprocess.Popen([program, "upstream", str(port), str(UPSTREAM_MS)])
        bare, ours, least = [], [], []
        base, between = f"http://127.0.0.1:{port}", free_port()
        relay = subprocess.Popen([program, "relay", str(between), f"{base}/widgets/w1"])
        try:
            more = f'[egress]\nallow_private = ["127.0.0.1:{port}"]\n'
            ask = [program, "ask", str(CONNECTIONS), str(self.seconds)]
            with self.serving(file, base=base, more=more) as (_, door):
                request = body("tools/call", call("get_widget", id="w1"))
                through = [*ask, f"http://127.0.0.1:{door}/mcp", self.key(), request]
                for _ in range(self.rounds):
                    bare.append(asked([*ask, f"{base}/widgets/w1"]))
                    ours.append(asked(through))
                    least.append(asked([*ask, f"http://127.0.0.1:{between}/mcp", self.key(), request]))
        finally:
            for process in (upstream, relay):
                process.terminate()
                process.wait(10)
        mine, peer = (statistics.median(half for _, half in values) for values in (ours, bare))
        rate = statistics.median(rate for rate, _ in ours)
        self.report(
            f"a read call through a connector, p50, {CONNECTIONS} connections, {rate:.0f} calls/s / bare reqwest",
            mine, peer, "us", "at most 300 us more", reached=mine <= peer + 300,
        )  # fmt: skip
        relayed = statistics.median(half for _, half in least)
        name = "an axum and reqwest relay that does nothing else, p50 / bare reqwest"
        self.report(name, relayed, peer, "us", "for comparison", reached=True)

    def program(self) -> str:
        """Return the path of the program that is measured."""
        return os.environ.get("PROGRAM") or shutil.which("bartizan") or "bartizan"

    def bench_program(self) -> str:
        """Return the path of connector-bench, built from this source."""
        if named := os.environ.get("BENCH"):
            return named
        build = ["cargo", "build", "--release", "--no-default-features", "--example", "connector-bench"]
        subprocess.run([*build, "--target-dir", str(BUILT)], cwd=HERE.parent.parent, check=True)
        return str(BUILT / "release" / "examples" / "connector-bench")

    def parts(self) -> dict[str, Callable[[], None]]:
        """Return the rows by name."""
        return {
            "loading": self.loading,
            "resident": self.resident,
            "finding": self.finding,
            "pages": self.pages,
            "adding": self.adding,
        }


def asked(command: list[str]) -> tuple[float, float]:
    """Run connector-bench and return calls a second and the median time in microseconds."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"connector-bench failed:\n{done.stderr}")
    rate, half = done.stdout.split()
    return float(rate), float(half)


def body(method: str, params: dict[str, object]) -> str:
    """Return a request of the newest revision."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}})


def call(tool: str, **arguments: object) -> dict[str, object]:
    """Return the parameters of a call."""
    return {"name": tool, "arguments": arguments}


def memory(process: subprocess.Popen[bytes], which: str) -> float:
    """Return a figure of a process's memory in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{which}:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main(Api))
