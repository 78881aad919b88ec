"""The installed command and its endpoints, as tests talk to them.

Owns :func:`run`, :class:`Served`, :class:`Piped`, :class:`Upstream`. The idea: nothing here
sleeps to be in time; it waits for a line, an answer or an end, each with a deadline.
Must not: import bartizan. What is tested is the program.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

PATIENCE = 30.0
NEWEST = "2026-07-28"
HANDSHAKE = "2025-11-25"
COMMAND = Path(sys.executable).with_name("bartizan")
JSON = dict[str, Any]


def program() -> str:
    """Return the installed command's path."""
    found = str(COMMAND) if COMMAND.exists() else shutil.which("bartizan")
    assert found, "the command bartizan is not installed"
    return found


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed."""
        return json.loads(self.out)

    @property
    def error(self) -> JSON:
        """The error that it reported as JSON."""
        found: JSON = json.loads(self.err.strip().splitlines()[-1])["error"]
        return found

    @property
    def all(self) -> str:
        """Everything that it said."""
        return self.out + self.err


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: ours, no colours, and `more`."""
    return {**os.environ, "NO_COLOR": "1", **(more or {})}


def run(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    cwd: Path | None = None,
    patience: float = PATIENCE * 2,
) -> Done:
    """Run the command to its end."""
    done = subprocess.run(
        [program(), *map(str, arguments)],
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        env=environment(env),
        cwd=cwd,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Lines:
    """What a stream says, line by line, as it comes."""

    def __init__(self, stream: Any) -> None:
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._more:
                self._lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait(self, test: Callable[[str], Any], patience: float = PATIENCE) -> Any:
        """Return what `test` makes of the first line that it makes something of."""
        deadline = time.monotonic() + patience
        seen = 0
        with self._more:
            while True:
                while seen < len(self._lines):
                    found = test(self._lines[seen])
                    seen += 1
                    if found:
                        return found
                left = deadline - time.monotonic()
                assert not self._ended, f"the stream ended; it said {self._lines}"
                assert left > 0, f"nothing came in time; it said {self._lines}"
                self._more.wait(left)

    def text(self) -> str:
        """Return everything so far."""
        with self._more:
            return "\n".join(self._lines)

    def all(self) -> str:
        """Return everything, once the stream has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the stream did not end"
        return self.text()


def envelope(params: Mapping[str, Any] | None = None, revision: str = NEWEST, **capabilities: Any) -> JSON:
    """Return params as the stateless door wants them."""
    own = dict(params or {})
    meta = {
        "io.modelcontextprotocol/protocolVersion": revision,
        "io.modelcontextprotocol/clientInfo": {"name": "pytest", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }
    return {**own, "_meta": {**meta, **own.get("_meta", {})}}


class Process:
    """A running command."""

    def __init__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [program(), *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(env),
            cwd=cwd,
        )
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                self.out.all()
                self.err.all()
                stream.close()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(sign)
        return self.process.wait(PATIENCE), time.monotonic() - begun

    def said(self) -> str:
        """Return all that it said to people and peers until it ended."""
        self.process.wait(PATIENCE)
        return self.out.all() + "\n" + self.err.all()


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> JSON:
        """The message: the body, or the last event of a stream."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            events = re.findall(rb"^data: ?(\{.*)$", self.body, re.MULTILINE)
            found: JSON = json.loads(events[-1])
            return found
        return dict(json.loads(self.body))

    @property
    def error(self) -> JSON:
        """The JSON-RPC error."""
        found: JSON = self.json["error"]
        return found

    @property
    def result(self) -> JSON:
        """The JSON-RPC result."""
        message = self.json
        assert "result" in message, message
        found: JSON = message["result"]
        return found

    @property
    def text(self) -> str:
        """The text blocks of a tool's result."""
        return "\n".join(block.get("text", "") for block in self.result["content"])


def approval(answer: Answer) -> str:
    """Return the id of the approval that a call waits for."""
    error = answer.result["structuredContent"]["error"]
    assert error["kind"] == "NeedsApproval", error
    found = str(error["approval"])
    assert f"bartizan approvals approve {found}" in answer.text
    return found


class Served(Process):
    """`bartizan serve` over HTTP."""

    def __init__(self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        more: Sequence[str] = () if "--http" in arguments else ("--http", "127.0.0.1:0")
        super().__init__("serve", *arguments, *more, env=env, cwd=cwd)
        try:
            match = self.err.wait(lambda line: re.match(r"serving http://([^/]+)/mcp", line))
            self.host, _, port = match[1].rpartition(":")
            self.port = int(port)
            self.key = "" if "--no-auth" in arguments else self._key()
        except BaseException:
            self.process.kill()
            raise
        self.next = 0

    def _key(self) -> str:
        folder = os.environ["BARTIZAN_STATE_DIR"]
        return (Path(folder) / "http.key").read_text().strip()

    def headers(self, method: str = "", name: str | None = None, **more: str) -> dict[str, str]:
        """Return the headers of a well-behaved client."""
        found = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": NEWEST,
        }
        if method:
            found["Mcp-Method"] = method
        if name is not None:
            found["Mcp-Name"] = name
        if self.key:
            found["Authorization"] = f"Bearer {self.key}"
        return {**found, **more}

    def open(self, patience: float = PATIENCE) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection(self.host, self.port, timeout=patience)

    def post(self, body: bytes | str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a body as it is."""
        connection = self.open()
        try:
            connection.request("POST", "/mcp", body, dict(self.headers() if headers is None else headers))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def message(self, method: str, params: Mapping[str, Any] | None = None, **capabilities: Any) -> bytes:
        """Return a request's body."""
        self.next += 1
        whole = {"jsonrpc": "2.0", "id": self.next, "method": method, "params": envelope(params, **capabilities)}
        return json.dumps(whole).encode()

    def ask(self, method: str, params: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """Send a request through the stateless door."""
        name = (params or {}).get("name") or (params or {}).get("uri")
        return self.post(self.message(method, params), self.headers(method, name, **headers))

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Answer:
        """Call a tool."""
        return self.ask("tools/call", {"name": tool, "arguments": dict(arguments or {})})

    def tools(self) -> list[JSON]:
        """List the tools."""
        found: list[JSON] = []
        params: JSON = {}
        while True:
            result = self.ask("tools/list", params).result
            found += result["tools"]
            if "nextCursor" not in result:
                return found
            params = {"cursor": result["nextCursor"]}

    def serves(self) -> None:
        """Assert that it still serves."""
        assert self.process.poll() is None, self.err.text()
        assert self.ask("server/discover").status == 200


class Piped(Process):
    """`bartizan serve` over standard input and output."""

    def __init__(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__("serve", *arguments, env=env, stdin=subprocess.PIPE)
        self.next = 0

    def send(self, line: str) -> None:
        """Write a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def start(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request; return its id."""
        self.next += 1
        whole = {"jsonrpc": "2.0", "id": self.next, "method": method, "params": envelope(params)}
        self.send(json.dumps(whole))
        return self.next

    def answer(self, number: int | None) -> JSON:
        """Wait for the answer to a request."""

        def match(line: str) -> JSON | None:
            message: JSON = json.loads(line)
            known = "method" not in message and message.get("id") == number
            return message if known else None

        found: JSON = self.out.wait(match)
        return found

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> JSON:
        """Send a request and wait for its answer."""
        return self.answer(self.start(method, params))

    def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> JSON:
        """Call a tool; return its result."""
        message = self.ask("tools/call", {"name": tool, "arguments": dict(arguments or {})})
        assert "result" in message, message
        found: JSON = message["result"]
        return found

    def close(self) -> int:
        """End its input; return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request that an upstream saw."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Upstream:
    """A loopback upstream that answers as it is told."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], object]) -> None:
        seen: list[Asked] = []
        arrived = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                found = {name.lower(): value for name, value in self.headers.items()}
                seen.append(Asked(self.command, self.path, found, body))
                arrived.set()
                answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - the standard library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: a client that went away is what is tested."""

        self.seen = seen
        self.arrived = arrived
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE)


def reply(
    handler: BaseHTTPRequestHandler, status: int, body: bytes | str, kind: str = "application/json", **headers: str
) -> None:
    """Answer a request."""
    content = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def audit_file() -> Path:
    """Return where the audit is unless a configuration says otherwise."""
    return Path(os.environ["BARTIZAN_STATE_DIR"]) / "audit.jsonl"


def audited(path: Path | None = None) -> list[JSON]:
    """Return the audit's lines, but for one that a kill tore."""
    return [json.loads(line) for line in (path or audit_file()).read_text().splitlines() if line.endswith("}")]


def outcomes(tool: str, path: Path | None = None) -> list[str]:
    """Return the results of a tool's calls, each of which has to have an intent before it."""
    lines = [line for line in audited(path) if line.get("tool") == tool]
    intents = [line["id"] for line in lines if line["kind"] == "intent"]
    ends = [line for line in lines if line["kind"] == "outcome"]
    assert sorted(intents) == sorted(line["id"] for line in ends), lines
    return [line["result"] for line in ends]
