"""Servers that are killed while calls wait: nothing runs twice, and nothing is acknowledged without its lines."""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import contextlib
import http.client
import json
import random
import re
import signal
import threading
import time
import urllib.parse
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from commands import PATIENCE, Served, run

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

PASSPHRASE = "a passphrase for this test"  # noqa: S105 - made up
KILLS = 50
TOOLS = """
import os
from pathlib import Path

from bartizan import Server

server = Server("own")
ledger = Path(__file__).with_name("ledger")


@server.tool
def make(number: int) -> str:
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, f"{number}\\n".encode())
    os.close(handle)
    return f"made {number}"
"""
CONFIG = """
[policy]
set = "standard"

[limits]
read = {{ per_minute = 600000, burst = 100000 }}
write = {{ per_minute = 600000, burst = 100000 }}
refusals = {{ per_minute = 600000, burst = 100000 }}

[egress]
allow_private = ["127.0.0.1:9"]

[approvals]
most_pending = 100000
most_pending_each = 100000
self_approval = true
approvers = ["key:local"]

[approvals.webhook]
url = "http://127.0.0.1:9/nobody-listens"
secret = "file:{secret}"
link = "http://127.0.0.1:1"
"""


class Gone(Exception):
    """The server was killed before it answered."""


class Site:
    """Servers that share a state directory."""

    def __init__(self, folder: Path) -> None:
        self.tools = folder / "own.py"
        self.tools.write_text(TOOLS)
        secret = folder / "hook.secret"
        secret.write_text("a secret that signs what nobody hears")
        secret.chmod(0o600)
        self.config = folder / "bartizan.toml"
        self.config.write_text(CONFIG.format(secret=secret))
        self.config.chmod(0o600)
        self.ledger = folder / "ledger"
        self.lock = threading.Lock()
        self.servers: list[Served] = []

    def start(self) -> Served:
        """Start one more."""
        served = Served("--tools", self.tools, "--config", self.config)
        with self.lock:
            self.servers.append(served)
        return served

    def any(self) -> Served:
        """Return one that was not killed yet."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with self.lock:
                if self.servers:
                    return random.choice(self.servers)  # noqa: S311 - chance, no secret
            time.sleep(0.01)
        pytest.fail("no server came up")

    def runs(self) -> Counter[int]:
        """Return how often each number was made."""
        if not self.ledger.exists():
            return Counter()
        return Counter(int(line) for line in self.ledger.read_text().splitlines())


def ask(served: Served, number: int) -> dict[str, Any]:
    try:
        answer = served.call("make", {"number": number})
        return dict(answer.result)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Gone from error


def waits(result: dict[str, Any]) -> str | None:
    error = result.get("structuredContent", {}).get("error", {})
    return error.get("approval") if error.get("kind") == "NeedsApproval" else None


def page(served: Served, method: str, name: str, form: dict[str, str] | None = None) -> tuple[int, str]:
    """Look at an approval, or decide about it, as an approver with a browser does."""
    credential = base64.b64encode(f"me:{served.key}".encode()).decode()
    headers = {"Authorization": f"Basic {credential}"}
    body = None
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urllib.parse.urlencode(form)
    connection = served.open()
    try:
        connection.request(method, f"/approvals/{name}", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Gone from error
    finally:
        connection.close()


def approve(served: Served, name: str) -> int:
    status, text = page(served, "GET", name)
    token = re.search(r'name="token" value="([^"]+)"', text)
    if status != 200 or token is None:
        return status
    return page(served, "POST", name, {"token": token[1], "decision": "approve"})[0]


# proves: approval-once
def test_one_of_fifty_callers_at_three_servers_has_the_grant(tmp_path: Path) -> None:
    site = Site(tmp_path)
    env = {"OPERATOR_PASSPHRASE": PASSPHRASE}
    key = ("--passphrase", "env:OPERATOR_PASSPHRASE", "--config", site.config)
    assert run("approvals", "enrol", "ada", *key, env=env).code == 0
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(site.start()) for _ in range(3)]
        name = waits(ask(servers[0], 7))
        assert name is not None
        assert run("approvals", "approve", name, *key, env=env).code == 0
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda at: ask(servers[at % 3], 7), range(50)))
        for served in servers:
            served.stop()
    made = [answer for answer in answers if not answer.get("isError")]
    assert len(made) == 1, answers
    assert site.runs() == Counter({7: 1})
    assert all(waits(answer) for answer in answers if answer.get("isError")), answers
    assert run("audit", "verify").code == 0


class Load:
    """Callers who ask, an approver who agrees, and three who race for each grant; a server that dies is part of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.over = threading.Event()
        self.note = threading.Lock()
        self.next = 0
        self.agreed: Counter[int] = Counter()
        self.acknowledged: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.workers = [threading.Thread(target=self.work) for _ in range(3)]

    def work(self) -> None:
        """Go on until it is over."""
        while not self.over.is_set():
            with self.note:
                self.next += 1
                number = self.next
            with contextlib.suppress(Gone):
                self.one(number)

    def one(self, number: int) -> None:
        """Ask for one number, agree to it once, and race for it."""
        result = ask(self.site.any(), number)
        name = waits(result)
        if name is None:
            self.wrong.append(f"{number} did not wait for a person: {result}")
            self.over.set()
            return
        # counted before, so that an answer that was lost is no surprise
        self.agreed[number] += 1
        approve(self.site.any(), name)
        with concurrent.futures.ThreadPoolExecutor(3) as racers:
            list(racers.map(self.race, [number] * 3))

    def race(self, number: int) -> None:
        """Make the call again, and remember what was acknowledged."""
        with contextlib.suppress(Gone):
            result = ask(self.site.any(), number)
            if not result.get("isError"):
                with self.note:
                    self.acknowledged[number] += 1

    def __enter__(self) -> Self:
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for worker in self.workers:
            worker.join(PATIENCE)


def kill(site: Site, times: int) -> None:
    """Kill servers, one after the other; another has come up before each."""
    with concurrent.futures.ThreadPoolExecutor(2) as starting:
        fresh = collections.deque(starting.submit(site.start) for _ in range(2))
        for _ in range(times):
            fresh.popleft().result(PATIENCE)
            fresh.append(starting.submit(site.start))
            with site.lock:
                victim = site.servers.pop(random.randrange(len(site.servers)))  # noqa: S311 - chance, no secret
            victim.process.send_signal(signal.SIGKILL)
            victim.__exit__(None, None, None)


def written(state: Path) -> tuple[set[int], Counter[int]]:
    """Return the numbers that have an intent in the audit, and how many good outcomes each has."""
    intents: dict[Any, int] = {}
    outcomes: Counter[int] = Counter()
    for path in sorted(state.glob("audit*.jsonl")):
        for text in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # a torn tail; the verifier judges it
                line = json.loads(text)
                if line["kind"] == "intent" and line["tool"] == "make":
                    intents[line["id"]] = line["arguments"]["number"]
                elif line["kind"] == "outcome" and line["id"] in intents and line["result"] == "ok":
                    outcomes[intents[line["id"]]] += 1
    return set(intents.values()), outcomes


# proves: killed-servers
def test_servers_that_are_killed_fifty_times_spend_no_grant_twice(tmp_path: Path, state: Path) -> None:
    site = Site(tmp_path)
    site.start()
    site.start()
    with Load(site) as load:
        kill(site, KILLS)
    for served in site.servers:
        with served:
            served.stop()
    assert not load.wrong, load.wrong
    runs = site.runs()
    assert load.acknowledged, "nothing was ever agreed to and run"
    twice = {number: count for number, count in runs.items() if count > load.agreed[number]}
    assert not twice, f"run more often than agreed to: {twice}"
    assert load.acknowledged <= runs, "something was acknowledged that did not run"
    verified = run("audit", "verify", "--json")
    assert verified.code == 0, verified
    intents, outcomes = written(state)
    assert set(runs) <= intents, "something ran without an intent"
    assert load.acknowledged <= outcomes, "something was acknowledged without an outcome"
