"""A second factor, for the policy that holds and for keys, as operators meet it at the command line."""

from __future__ import annotations

import base64
import hmac
import json
import re
import struct
import subprocess
import time
import urllib.parse
from typing import TYPE_CHECKING

import pytest
from commands import PATIENCE, Done, Piped, Process, Served, audit_file, run

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - made up
ENV = {"OPERATOR_PASSPHRASE": PASSPHRASE}
KEY = ("--passphrase", "env:OPERATOR_PASSPHRASE")
TOOLS = """
from bartizan import Server

server = Server("mine")

@server.tool(effect="read")
def look() -> str:
    "Look."
    return "seen"

@server.tool()
def make() -> str:
    "Make a thing."
    return "made"
"""
READS = 'permit (principal, action, resource) when { resource.effect == "read" };'
ALL = "permit (principal, action, resource);"


def totp(uri: str) -> str:
    """Return the code that an authenticator showed a moment ago (RFC 6238)."""
    secret = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["secret"][0]
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30 - 1), "sha1").digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


class Office:
    """A configuration, and an operator; :meth:`factor` gives them a second factor."""

    def __init__(self, folder: Path, policy: str, more: str = "") -> None:
        self.config = folder / "bartizan.toml"
        self.more = more
        self.state = folder / "state"
        (folder / "mine.py").write_text(TOOLS)
        self.says(policy)
        assert self.run("approvals", "enrol", "ada").code == 0
        self.codes: list[str] = []

    def says(self, policy: str, more: str | None = None) -> None:
        """Write the configuration."""
        self.config.write_text(f'policy = "{policy}"\ntools = ["mine.py"]\n{self.more if more is None else more}')

    def factor(self) -> str:
        """Enrol a second factor; return what was said."""
        words = ("approvals", "factor", "enrol", "ada", *KEY, "--config", self.config)
        with Process(*words, env=ENV, stdin=subprocess.PIPE) as enrolling:
            uri = enrolling.out.wait(lambda line: line if line.startswith("otpauth://") else None)
            assert enrolling.process.stdin is not None
            enrolling.process.stdin.write(totp(uri) + "\n")
            enrolling.process.stdin.close()
            said = enrolling.said()
        self.codes = re.findall(r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b", said)
        assert len(self.codes) == 10, said
        return said

    def code(self) -> tuple[str, str]:
        """Return a code that is good once."""
        return "--code", self.codes.pop()

    def run(self, *words: str, code: bool = False) -> Done:
        """Run a command that asks for the operator."""
        return run(*words, *KEY, *(self.code() if code else ()), "--config", self.config, env=ENV)

    @property
    def record(self) -> Path:
        """Where it is written what was accepted."""
        return self.state / "factors" / "policy-production.json"

    def start(self) -> list[Done]:
        """Start in every way there is."""
        own = ("--config", self.config)
        return [
            run("serve", *own),
            run("serve", *own, "--http", "127.0.0.1:0"),
            run("call", *own, "look"),
            run("tools", *own),
            run("check", *own),
        ]


def events(name: str) -> list[dict[str, object]]:
    """Return what the audit says of these events."""
    lines = [json.loads(line) for line in audit_file().read_text().splitlines()]
    return [line["detail"] for line in lines if line.get("event") == name]


def until(what: str, name: str, count: int) -> None:
    """Wait until there are so many events of that name."""
    deadline = time.monotonic() + PATIENCE
    while len(events(name)) < count:
        assert time.monotonic() < deadline, f"{what}: {events(name)}"
        time.sleep(0.05)


def names(served: Served) -> set[str]:
    """Return the names of the tools that are served."""
    return {str(tool["name"]) for tool in served.tools()}


@pytest.mark.parametrize(
    "former, other", [("read-only", "admin"), ("own.cedar", "own.cedar")], ids=["another set", "another text"]
)
def test_a_server_takes_another_policy_once_an_operator_accepted_it(tmp_path: Path, former: str, other: str) -> None:
    own = tmp_path / "own.cedar"
    own.write_text(READS)
    office = Office(tmp_path, former)
    assert "counts as accepted" in office.factor()
    with Served("--config", office.config) as served:
        assert names(served) == {"look"}
        own.write_text(ALL)
        office.says(other)
        told = served.err.wait(lambda line: line if "bartizan policy accept" in line else None)
        assert "the former one stays" in told
        until("refused", "configuration refused", 1)
        assert "bartizan policy accept" in str(events("configuration refused")[0]["reason"])
        assert names(served) == {"look"}

        bare = office.run("policy", "accept")
        assert bare.code == 2
        assert "code" in bare.err
        assert f"{former} -> {other}" in bare.out or "text of own.cedar" in bare.out
        wrong = run("policy", "accept", *KEY, "--code", "000000", "--config", office.config, env=ENV)
        assert wrong.code == 3
        other_words = {"OPERATOR_PASSPHRASE": "another horse battery"}
        assert run("policy", "accept", *KEY, *office.code(), "--config", office.config, env=other_words).code == 3
        assert not events("configuration reloaded")
        assert names(served) == {"look"}

        agreed = office.run("policy", "accept", "--json", code=True)
        assert agreed.code == 0, agreed
        assert agreed.json["accepted"] is True
        until("taken", "configuration reloaded", 1)
        assert names(served) == {"look", "make"}
        assert not served.call("make").result.get("isError")
        assert office.run("policy", "accept").code == 0, "nothing is left to accept"
        served.stop()
    acts = [(fact["operator"], fact["policy"], bool(fact["factor"])) for fact in events("policy accepted")]
    assert acts[-1] == ("ada", agreed.json["policy"], True)
    assert len(acts) == 2, "one for the first factor"
    with Served("--config", office.config) as served:
        assert names(served) == {"look", "make"}


def test_nothing_starts_with_a_policy_that_nobody_accepted(tmp_path: Path) -> None:
    office = Office(tmp_path, "read-only")
    office.says("standard")
    assert run("call", "--config", office.config, "look").code == 0, "without a factor nobody is asked"
    office.says("read-only")
    office.factor()
    assert run("call", "--config", office.config, "look").code == 0
    assert run("check", "--config", office.config).code == 0
    (tmp_path / "nobody").mkdir()
    for policy, more in [
        ("standard", ""),
        ("admin", '[approvals]\noperators = "nobody"\n'),
        ("read-only", '[approvals]\nsecond_factor = "off"\n'),
        ("read-only", '[principal.local]\nroles = ["ops"]\n'),
        ("read-only", 'profile = "development"\n'),
    ]:
        office.says(policy, more)
        for done in office.start():
            assert done.code == 2, (policy, more, done)
            assert "bartizan policy accept" in done.all, (policy, more, done)
    office.says("read-only")
    flags = run("call", "--config", office.config, "--policy", "standard", "look")
    assert (flags.code, "bartizan policy accept" in flags.err) == (2, True), flags
    assert run("call", "--config", office.config, "--read-only", "look").code == 0, "it takes away"
    # it can be looked at before anybody accepts it
    assert run("policy", "explain", "key:ci", "make", "--config", office.config, "--policy", "admin").code == 0
    with Piped("--config", office.config) as served:
        assert served.call("look")["content"][0]["text"] == "seen"
        served.close()


def test_only_an_operators_signature_with_a_factor_accepts(tmp_path: Path) -> None:
    office = Office(tmp_path, "read-only")
    office.factor()
    good = office.record.read_text()
    assert office.record.stat().st_mode & 0o777 == 0o600
    record = json.loads(good)
    office.says("admin")

    def refused(text: str | None) -> None:
        if text is None:
            office.record.unlink()
        else:
            office.record.write_text(text)
        done = run("call", "--config", office.config, "look")
        assert (done.code, "bartizan policy accept" in done.err) == (2, True), (text, done)

    # what was accepted, with the other set written in its place
    with_admin = office.run("policy", "accept", "--json", code=True)
    assert with_admin.code == 0
    accepted = json.loads(office.record.read_text())
    assert run("call", "--config", office.config, "look").code == 0
    refused(json.dumps({**record, "terms": accepted["terms"]}))
    refused(json.dumps({**accepted, "at": accepted["at"] + 1}))
    refused(json.dumps({**accepted, "proof": {**accepted["proof"], "factor": None}}))
    refused(json.dumps({**accepted, "proof": {**accepted["proof"], "operator": "eve"}}))
    refused(json.dumps({**accepted, "version": 2}))
    refused("not JSON")
    refused(good)
    refused(None)
    office.record.write_text(json.dumps(accepted))
    assert run("call", "--config", office.config, "look").code == 0

    # the same, signed by somebody of that name in another installation
    forger = tmp_path / "forger"
    forger.mkdir()
    theirs = Office(forger, "admin", f'state_dir = "{forger / "state"}"\n')
    theirs.factor()
    refused(theirs.record.read_text())


def test_keys_and_the_end_of_a_freeze_ask_for_the_factor(tmp_path: Path) -> None:
    office = Office(tmp_path, "read-only")
    issued = json.loads(office.run("key", "new", "--owner", "ci", "--json").out)["id"]
    office.factor()
    new = ("key", "new", "--owner", "anna@example.com")
    rotate = ("key", "rotate", issued)
    assert run("freeze", "writes", "--config", office.config).code == 0
    for words in (new, rotate, ("unfreeze",)):
        bare = office.run(*words)
        assert bare.code == 2, bare
        assert "code" in bare.err
    listed = run("key", "list", "--json", "--config", office.config).json["keys"]
    assert [one["id"] for one in listed] == [issued]
    # that none is asked for counts only once it was accepted
    off = '[approvals]\nsecond_factor = "off"\n'
    office.says("read-only", off)
    assert office.run(*new).code == 2
    assert office.run("unfreeze").code == 2
    office.says("read-only")
    for words in (new, rotate, ("unfreeze",)):
        agreed = office.run(*words, code=True)
        assert agreed.code == 0, agreed
    office.says("read-only", off)
    assert office.run("policy", "accept", code=True).code == 0
    assert office.run(*new[:-1], "bert@example.com").code == 0
