"""Put an HTTP endpoint under load that misbehaves, and see that nobody else suffers.

usage: run.py [--seconds N] [--rate N] [--json]

1,000 clients on loopback: 800 that behave well make RATE calls a second between them at a fixed schedule, 100 read
slowly, 100 vanish in the middle of a call; 200 more streams listen. The rate is fixed, and the same with and without
the others, because a latency says something only at a rate that the machine carries with ease: at 400 calls a second
two cores are less than half busy with everybody there. What has to hold:

- the 99th percentile of the well-behaved is under three times what it is without the others, measured half before and
  half after (on a machine that does something else besides, look at the usual one too, and do not trust either);
- every well-behaved client is served, and no call fails; every stream hears (nearly) every change;
- every call that was given up is cancelled in the tool itself, and none runs on;
- descriptors and memory come back to where they were;
- the streams of a stopped process (SIGSTOP) cost no more than their queues may hold.

The generator (this folder's crate) is built into target/load. The exit code is 1 if something does not hold.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGET = HERE.parent.parent / "target" / "load"
PROGRAM = TARGET / "release" / "load"
REVISION = "2026-07-28"
WELL_BEHAVED, SLOW, VANISHING, LISTENING = 800, 100, 100, 200
TOUCHES_PER_SECOND = 2
SETTLE_DEADLINE = 30.0
# Descriptors that a process opens once and keeps: a thread's, a log's.
SPARE = 8
STALLED_STREAMS = 40
QUEUE_BYTES = 1 << 20


def settings(scratch: Path, port: int) -> str:
    """Return the server's configuration: room for everybody, and all bounds otherwise as they are."""
    return f"""
diagnostics = true
[limits]
read = {{ per_minute = 1000000000, burst = 1000000000 }}
[calls]
at_once = 1024
[audit]
path = "{scratch}/audit.jsonl"
[http]
listen = "127.0.0.1:{port}"
connections = 4096
queue_bytes = {QUEUE_BYTES}
[server]
subscriptions_each = 1024
"""


class Judge:
    """Collects what was measured and whether it holds."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.found: list[dict[str, Any]] = []

    def holds(self, what: str, measured: str, *, good: bool) -> None:
        """Keep and print one finding."""
        self.found.append({"what": what, "measured": measured, "holds": good})
        sys.stderr.write(f"{'ok  ' if good else 'MISS'} {what}: {measured}\n")


class Served:
    """The server under load, and what can be seen of it from outside."""

    def __init__(self, scratch: Path) -> None:
        """Start it and wait until it serves."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        config = scratch / "bartizan.toml"
        config.write_text(settings(scratch, self.port))
        log = scratch / "server.log"
        environment = {**os.environ, "BARTIZAN_STATE_DIR": str(scratch / "state")}
        with log.open("wb") as out:
            command = [sys.executable, str(HERE / "server.py"), str(config)]
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        deadline = time.monotonic() + 30
        while "a key was made" not in log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.05)
        self.key = (scratch / "state" / "http.key").read_text().strip()

    def call(self, tool: str) -> Any:
        """Call a tool without arguments and return its structured result."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {"name": tool, "arguments": {}, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
            "Connection": "close",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/mcp", body, headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer["result"].get("structuredContent")

    def descriptors(self) -> int:
        """Return how many descriptors the process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory(self) -> float:
        """Return the resident memory, in megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes) / 1024

    def processor(self) -> float:
        """Return the seconds of processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settled(self, descriptors: int) -> int:
        """Wait until no more descriptors are open than that, or the deadline; return how many are."""
        deadline = time.monotonic() + SETTLE_DEADLINE
        while (now := self.descriptors()) > descriptors + SPARE and time.monotonic() < deadline:
            time.sleep(0.1)
        return now


def generator(served: Served, what: str, seconds: float, *more: object) -> subprocess.Popen[str]:
    """Start the generator."""
    command = [str(PROGRAM), what, served.url, served.key, str(seconds), *map(str, more)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a generator's end and return its line."""
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the generator ended with {process.returncode}")
    return dict(json.loads(out))


class Touching(threading.Thread):
    """Changes what is watched, at a fixed rate, until it is told to end."""

    def __init__(self, served: Served) -> None:
        """Begin at once."""
        super().__init__(daemon=True)
        self.served, self.over, self.touches = served, threading.Event(), 0
        self.start()

    def run(self) -> None:
        """Touch."""
        while not self.over.wait(1 / TOUCHES_PER_SECOND):
            self.served.call("touch")
            self.touches += 1


def loaded(served: Served, seconds: float, rate: float) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Run everybody together; return what the well-behaved and the others saw, and how often the resource changed."""
    # The others come first and leave last, so that what is measured lies within.
    bad = generator(served, "bad", seconds + 4, SLOW, VANISHING, LISTENING)
    time.sleep(1)
    good = generator(served, "good", seconds, rate, WELL_BEHAVED)
    touching = Touching(served)
    seen = report(good)
    touching.over.set()
    touching.join()
    return seen, report(bad), touching.touches


def stopped(served: Served, judge: Judge, seconds: float) -> None:
    """Stop a client process whose streams are written to, and watch the memory."""
    descriptors = served.descriptors()
    client = generator(served, "stall", 600, STALLED_STREAMS)
    time.sleep(2)
    before = served.memory()
    os.kill(client.pid, signal.SIGSTOP)
    touching = Touching(served)
    samples = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.25)
        samples.append(served.memory())
    touching.over.set()
    touching.join()
    os.kill(client.pid, signal.SIGKILL)
    os.kill(client.pid, signal.SIGCONT)
    client.communicate()
    third = len(samples) // 3
    # What a queue may hold, once in the queue and once on its way to the socket.
    allowed = STALLED_STREAMS * 2 * QUEUE_BYTES / 2**20 + 16
    grown = max(samples) - before
    judge.holds(
        "a stopped client's streams stay within their queues",
        f"grew by {grown:.1f} MB in {seconds:.0f} s ({STALLED_STREAMS} streams may take {allowed:.0f} MB)",
        good=grown < allowed,
    )
    later = max(samples[2 * third :]) - max(samples[third : 2 * third])
    judge.holds("and stop growing", f"{later:+.1f} MB in the last third", good=later < allowed / 10)
    after = served.settled(descriptors)
    judge.holds("its descriptors are closed", f"{after} open, {descriptors} before", good=after <= descriptors + SPARE)


def accounted(served: Served, judge: Judge) -> None:
    """Every call that does not end by itself was begun, given up, and cancelled."""
    deadline = time.monotonic() + SETTLE_DEADLINE
    tally = served.call("tally")
    while tally["started"] != tally["cancelled"] and time.monotonic() < deadline:
        time.sleep(0.2)
        tally = served.call("tally")
    judge.holds(
        "everything given up was cancelled in the tool",
        f"{tally['started']} started, {tally['cancelled']} cancelled, {tally['finished']} finished",
        good=tally["started"] == tally["cancelled"] > 0 and tally["finished"] == 0,
    )


class Latencies:
    """How long the calls of the well-behaved took, in milliseconds."""

    def __init__(self, *seen: dict[str, Any]) -> None:
        """Pool what was seen in one or several runs."""
        self.tenths = [[took / 1000 for took in tenth] for one in seen for tenth in one["took_us"]]
        self.all = sorted(took for tenth in self.tenths for took in tenth)

    @staticmethod
    def part(sorted_times: list[float], part: float) -> float:
        """Return a percentile."""
        return sorted_times[min(int(len(sorted_times) * part), len(sorted_times) - 1)]

    def at(self, part: float) -> float:
        """Return a percentile of all."""
        return self.part(self.all, part)

    def usual(self, part: float) -> float:
        """Return the median of the tenths' percentiles, which a moment's disturbance does not move."""
        return statistics.median(self.part(sorted(tenth), part) for tenth in self.tenths if tenth)


def measure(served: Served, judge: Judge, seconds: float, rate: float) -> None:
    """Measure without and with the others, and compare."""
    # The first moments of any process are not like the rest: everything is allocated once before anything is compared.
    idle = served.descriptors()
    loaded(served, min(10.0, seconds), rate)
    served.settled(idle)
    memory = served.memory()
    # What else happens on the machine changes slowly: half of the comparison is measured before, half after.
    before = report(generator(served, "good", seconds / 2, rate, WELL_BEHAVED))
    busy, begun = served.processor(), time.monotonic()
    seen, others, touches = loaded(served, seconds, rate)
    share = (served.processor() - busy) / (time.monotonic() - begun)
    after = report(generator(served, "good", seconds / 2, rate, WELL_BEHAVED))
    alone, among = Latencies(before, after), Latencies(seen)
    sys.stderr.write(
        f"     {rate:.0f} calls/s of {WELL_BEHAVED} clients. Alone: p50 {alone.at(0.5):.2f} ms, p99 usually "
        f"{alone.usual(0.99):.2f} ms, slowest {alone.all[-1]:.1f} ms. Among the others: p50 {among.at(0.5):.2f} ms, "
        f"p99 usually {among.usual(0.99):.2f} ms, slowest {among.all[-1]:.1f} ms.\n"
        f"     The server used {share:.2f} of a core; {others['vanished']} clients vanished, "
        f"{others['sipped'] / 2**20:.1f} MB were sipped; the machine's load average is {os.getloadavg()[0]:.1f} "
        f"with {os.cpu_count()} cores\n"
    )
    ratio = among.at(0.99) / alone.at(0.99)
    judge.holds(
        "p99 of the well-behaved, against theirs alone (under 3)",
        f"{among.at(0.99):.2f} ms against {alone.at(0.99):.2f} ms, ratio {ratio:.2f}",
        good=ratio < 3,
    )
    judge.holds(
        "every well-behaved client is served",
        f"{len(among.all)} calls, {seen['failed']} clients failed {seen['failures']}, "
        f"the least served made {seen['fewest']} of {seen['wanted']:.0f}",
        good=seen["failed"] == 0 and seen["fewest"] >= seen["wanted"] - 1,
    )
    judge.holds(
        "every listening stream hears",
        f"{others['listening']} streams opened for {LISTENING} clients, {touches} changes, "
        f"the least heard {others['fewest_heard']}; {others['troubles']} streams or calls broke off",
        good=others["listening"] == LISTENING and others["fewest_heard"] >= touches and others["troubles"] == 0,
    )
    accounted(served, judge)
    now = served.settled(idle)
    judge.holds("descriptors come back", f"{now} open, {idle} before", good=now <= idle + SPARE)
    resident = served.memory()
    judge.holds("memory comes back", f"{resident:.1f} MB, {memory:.1f} MB before", good=resident < memory * 1.25 + 8)


def main() -> int:
    """Build, serve, load, judge."""
    parser = argparse.ArgumentParser(description="An HTTP endpoint under load.")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--json", action="store_true", help="print JSON as well")
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(HERE / "Cargo.toml")]
    subprocess.run(build, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)})
    scratch = Path(tempfile.mkdtemp(prefix="bartizan-load-"))
    judge = Judge()
    served = Served(scratch)
    try:
        measure(served, judge, options.seconds, options.rate)
        stopped(served, judge, min(30.0, options.seconds))
        accounted(served, judge)
    finally:
        served.process.terminate()
        served.process.wait(20)
    if options.json:
        sys.stdout.write(json.dumps(judge.found, indent=1) + "\n")
    shutil.rmtree(scratch, ignore_errors=True)
    return 0 if all(finding["holds"] for finding in judge.found) else 1


if __name__ == "__main__":
    sys.exit(main())
