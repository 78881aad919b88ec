"""Alerts through the command: everybody who should be told gets a message, or the command says who did not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from typing import TYPE_CHECKING

from commands import Done, Upstream, reply, run

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hook-secret-of-the-tests-0123456789"  # noqa: S105 - made up


def told(folder: Path, *ports: int, more: tuple[str, ...] = ()) -> Done:
    """Try the way to webhooks on these ports."""
    to = ", ".join(
        f'{{ kind = "webhook", url = "http://127.0.0.1:{port}/x", secret = "env:HOOK_KEY" }}' for port in ports
    )
    allowed = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    config = folder / "bartizan.toml"
    config.write_text(f"[egress]\nallow_private = [{allowed}]\nretries = 0\n[alerts]\nto = [{to}]\n")
    return run("alerts", "test", "--config", config, *more, env={"HOOK_KEY": SECRET})


def test_it_fails_unless_every_destination_took_its_message(tmp_path: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, "{}")) as good, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # and nobody listens
        port = dead.getsockname()[1]
        fine = told(tmp_path, good.port)
        assert (fine.code, fine.out.splitlines()) == (0, ["webhook: sent"]), fine.all
        mixed = told(tmp_path, good.port, port)
        assert mixed.code not in {0, 2}, mixed.all
        assert mixed.out.splitlines()[0] == "webhook: sent"
        assert len(mixed.out.splitlines()) == 2
        assert "1 of 2 destinations did not take it" in mixed.err
        shown = told(tmp_path, good.port, port, more=("--json",))
        assert shown.code == mixed.code
        assert [one["ok"] for one in shown.json["destinations"]] == [True, False]
        assert SECRET not in fine.all + mixed.all + shown.all
        assert len(good.seen) == 3, "who is alive is told each time"
        asked = good.seen[0]
        signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
        signature = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
        assert asked.headers["webhook-signature"] == f"v1,{signature}"
        assert len(json.loads(asked.body)["messages"]) == 1


def test_whoever_refuses_a_message_did_not_take_it(tmp_path: Path) -> None:
    with Upstream(lambda handler: reply(handler, 403, "{}")) as closed:
        refused = told(tmp_path, closed.port)
        assert refused.code not in {0, 2}, refused.all
        assert "1 of 1 destinations did not take it" in refused.err
