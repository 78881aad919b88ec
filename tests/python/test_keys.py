"""API keys, as an operator issues them and a running server takes them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE, Served, audit_file, run

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - made up


def new(*more: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Issue a key."""
    done = run("key", "new", *more, "--json", env=env)
    assert done.code == 0, done
    found: dict[str, Any] = done.json
    return found


def status(served: Served, key: str) -> int:
    """Say how a server answers to a key."""
    return served.ask("tools/list", Authorization=f"Bearer {key}").status


def acts() -> list[tuple[str, str]]:
    """Return what was done to keys, as the audit has it."""
    lines = [json.loads(line) for line in audit_file().read_text().splitlines()]
    events = [line for line in lines if line["kind"] == "event" and line["event"].startswith("key ")]
    return [(event["event"], event["detail"].get("owner", "")) for event in events]


def test_a_key_lives_from_its_issue_to_its_revocation_beside_a_server_that_runs() -> None:
    with Served("--toolsets", "diagnostics") as served:
        issued = new("--owner", "anna@example.com", "--scopes", "read", "--roles", "ops", "--tenant", "acme")
        assert issued["key"].startswith(f"bz_{issued['id']}_")
        assert (issued["name"], issued["scopes"]) == ("anna@example.com", ["read"])
        served.key = issued["key"]
        told = served.call("whoami").result["structuredContent"]
        assert (told["principal"], told["scopes"], told["roles"]) == ("key:anna@example.com", ["read"], ["ops"])
        assert all(issued["key"] not in line for line in audit_file().read_text().splitlines())

        rotated = run("key", "rotate", issued["id"], "--overlap", "1h", "--json")
        assert rotated.code == 0, rotated
        assert [status(served, key) for key in (issued["key"], rotated.json["key"])] == [200, 200]

        revoked = run("key", "revoke", issued["id"])
        assert revoked.code == 0, revoked
        since = time.monotonic()
        while status(served, issued["key"]) != 401:
            assert time.monotonic() - since < PATIENCE
            time.sleep(0.05)  # the owner has a quota
        assert status(served, rotated.json["key"]) == 200
        assert status(served, rotated.json["key"][:-1] + "_") == 401
        served.stop()
    listed = {one["id"]: one for one in run("key", "list", "--json").json["keys"]}
    kept = listed[rotated.json["id"]]
    assert issued["id"] not in listed
    assert (kept["owner"], kept["state"], kept["unused"], kept["age_days"]) == ("anna@example.com", "good", False, 0)
    assert kept["calls"] >= 2
    assert kept["failures"] == 1
    assert kept["last_used"]
    assert 88 <= kept["days_left"] <= 90
    assert "key" not in kept
    assert "hash" not in kept
    shown = run("key", "list")
    assert "for anna@example.com" in shown.out
    assert acts()[1:] == [(f"key {act}", "anna@example.com") for act in ("issued", "rotated", "revoked")]


def test_the_key_is_all_that_is_printed_and_files_are_private() -> None:
    done = run("key", "new", "--owner", "ci")
    assert done.code == 0
    assert len(done.out.splitlines()) == 1
    assert done.out.startswith("bz_")
    assert "only time" in done.err
    folder = Path(os.environ["BARTIZAN_STATE_DIR"])
    for name in ("keys.json", "keys.pepper"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert done.out.strip()[12:] not in (folder / "keys.json").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--owner", ""),
        ("--owner", "everyone"),
        ("--owner", "anna, bob"),
        ("--owner", "Anna Andersson"),  # no name for a key, and none is given
        ("--owner", "anna", "--scopes", "raed"),
        ("--owner", "anna", "--scopes", ""),
        ("--owner", "anna", "--expires", "never"),
        ("--owner", "anna", "--expires", "9999d"),
        ("--owner", "anna", "--from", "10.0.0.0/33"),
        ("--owner", "anna", "--certificate", "short"),
    ],
)
def test_what_makes_no_good_key_is_refused_and_nothing_is_kept(arguments: tuple[str, ...]) -> None:
    done = run("key", "new", *arguments)
    assert done.code == 2, done
    assert done.err
    assert run("key", "list", "--json").json == {"keys": []}


def test_a_name_is_one_owners_and_an_unknown_key_is_said_to_be_so() -> None:
    new("--owner", "Anna Andersson", "--name", "anna")
    taken = run("key", "new", "--owner", "Bob", "--name", "anna")
    assert taken.code == 2
    assert "another owner" in taken.err
    for act in (("revoke", "nobody"), ("rotate", "nobody")):
        done = run("key", *act)
        assert done.code == 2
        assert "key list" in done.err
    assert run("key", "revoke", "anna").code == 0


def test_a_key_is_worth_nothing_from_elsewhere() -> None:
    with Served() as served:
        here = new("--owner", "here", "--from", "127.0.0.0/8,::1")
        elsewhere = new("--owner", "elsewhere", "--from", "10.0.0.0/8")
        assert [status(served, one["key"]) for one in (here, elsewhere)] == [200, 401]
        served.stop()


def test_where_operators_are_enrolled_one_of_them_has_to_agree_to_a_new_key() -> None:
    env = {"OPERATOR_PASSPHRASE": PASSPHRASE}
    key = ("--passphrase", "env:OPERATOR_PASSPHRASE")
    assert run("approvals", "enrol", "ada", *key, env=env).code == 0
    without = run("key", "new", "--owner", "anna")
    assert without.code == 2
    assert "--passphrase" in without.err
    wrong = run("key", "new", "--owner", "anna", *key, env={"OPERATOR_PASSPHRASE": "not the right one"})
    assert wrong.code == 3
    assert run("key", "list", "--json").json == {"keys": []}
    issued = new("--owner", "anna", *key, env=env)
    assert run("key", "rotate", issued["id"]).code == 2
    assert run("key", "revoke", issued["id"]).code == 0, "taking one back is never held up"
    lines = [json.loads(line) for line in audit_file().read_text().splitlines()]
    by = [line["detail"]["operator"] for line in lines if line.get("event") == "key issued"]
    assert by == ["ada"]
    assert any(line.get("event") == "operator act failed" for line in lines)
