"""What comes from outside of the program, through the program: JSON of every kind, proxies and credentials."""

from __future__ import annotations

import json
import os
import random
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import Served, Upstream, audited, reply, run

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

SHARED = Path(os.environ.get("BARTIZAN_SHARED", Path(__file__).parents[3] / "shared"))
THINGS = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "1"},
    "paths": {"/things": {"get": {"operationId": "list_things", "responses": {"200": {"description": "All."}}}}},
}
TOKEN = "a-token-0123456789-of-mine"  # noqa: S105 - made up


def test_the_public_json_suite_behaves_through_the_real_endpoint() -> None:
    archive = SHARED / "corpora" / "jsontestsuite.tar.gz"
    if not archive.exists():
        pytest.skip("the public JSON suite is not here")
    counts = {"y": 0, "n": 0, "i": 0, "twice": 0}
    with tarfile.open(archive) as suite, Served("--no-auth") as served:
        for member in suite:
            file = suite.extractfile(member)
            if file is None or "test_parsing/" not in member.name:
                continue
            name = Path(member.name).name
            kind = "twice" if "duplicated_key" in name else name[0]
            counts[kind] += 1
            code = served.post(file.read()).error["code"]
            wanted = {"y": {-32600}, "n": {-32700}, "twice": {-32700}, "i": {-32600, -32700}}
            assert code in wanted[kind], name
        served.serves()
    assert (counts["y"], counts["twice"], counts["n"]) == (93, 2, 188)


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """Return a small document."""
    path = tmp_path / "things.json"
    path.write_text(json.dumps(THINGS))
    return path


def configured(folder: Path, upstream: Upstream) -> list[str | Path]:
    """Return the arguments that let the document's tools reach a loopback upstream."""
    config = folder / "bartizan.toml"
    config.write_text(f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}"]\n')
    return ["--config", config, "--openapi", folder / "things.json", "--base-url", upstream.url]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_a_proxy_in_the_environment_sees_nothing(things: Path, name: str) -> None:
    with (
        Upstream(lambda handler: reply(handler, 200, "[]")) as upstream,
        Upstream(lambda handler: reply(handler, 200, '["from the proxy"]')) as proxy,
    ):
        flags = configured(things.parent, upstream)
        done = run("call", *flags, "--auth", "bearer:env:THINGS_TOKEN", "list_things", env={
            name: proxy.url, "THINGS_TOKEN": TOKEN, "NO_PROXY": "", "no_proxy": "",
        })  # fmt: skip
        assert done.code == 0, done.err
        assert (len(upstream.seen), len(proxy.seen)) == (1, 0)


def test_a_credential_comes_from_the_file_that_name_file_names(things: Path) -> None:
    secret = things.with_name("token")
    secret.write_text(TOKEN + "\n")
    secret.chmod(0o600)
    with Upstream(lambda handler: reply(handler, 200, "[]")) as upstream:
        flags = [*configured(things.parent, upstream), "--auth", "bearer:env:THINGS_TOKEN"]
        done = run("call", *flags, "list_things", env={"THINGS_TOKEN_FILE": str(secret)})
        assert done.code == 0, done.err
        assert upstream.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
        secret.chmod(0o644)
        done = run("call", *flags, "list_things", env={"THINGS_TOKEN_FILE": str(secret)})
        assert done.code != 0
        assert "chmod 600" in done.all or "0600" in done.all
        assert len(upstream.seen) == 1
        assert TOKEN not in done.all


def test_a_secret_is_taken_out_however_an_answer_is_cut_on_its_way(things: Path) -> None:
    secrets = [TOKEN, "ghp_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC3", "AKIA" + "Q3EGRTZ7XMPLK2VN"]
    whole = f"first {secrets[0]} und\u00e4 \U0001f511 then {secrets[1]}\nkey={secrets[2]} the end, " * 3
    content = whole.encode()
    draw = random.Random(7)  # noqa: S311 - no secret is made of it
    # whole, cut at every place of the first secret, a byte at a time, and at places drawn by lot
    start = content.index(secrets[0].encode())
    cuts: list[list[int]] = [[], *([place] for place in range(start, start + len(secrets[0]) + 1))]
    cuts.append(list(range(1, len(content))))
    cuts += [sorted(draw.sample(range(1, len(content)), draw.randint(2, 40))) for _ in range(20)]
    turn = iter(cuts)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain; charset=utf-8")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        places = next(turn)
        for begin, end in zip([0, *places], [*places, len(content)]):  # noqa: B905 - as long as each other
            piece = content[begin:end]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    secret = things.with_name("token")
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    with Upstream(answer) as upstream:
        flags = [*configured(things.parent, upstream), "--auth", f"bearer:file:{secret}"]
        with Served(*flags) as served:
            texts = [served.call("list_things").text for _ in cuts]
    assert texts[0].count("[redacted:") == 9
    assert not any(secret in texts[0] for secret in secrets)
    assert set(texts) == {texts[0]}, "every cut gives what the whole gives"


def test_a_keyring_that_is_not_there_is_said_plainly(things: Path) -> None:
    with Upstream(lambda handler: reply(handler, 200, "[]")) as upstream:
        flags = [*configured(things.parent, upstream), "--auth", "bearer:keyring:things"]
        done = run("call", *flags, "list_things", env={"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"})
        assert done.code != 0
        assert "keyring" in done.all
        assert "panicked" not in done.all
        assert upstream.seen == []


def test_practice_reads_no_credential_and_says_what_it_is(tmp_path: Path) -> None:
    # Reading it would fail, and say so: everybody may read it.
    trap = tmp_path / "secret"
    trap.write_text(TOKEN)
    trap.chmod(0o644)
    for secret in ({"EQUINIX_CLIENT_SECRET": TOKEN}, {"EQUINIX_CLIENT_SECRET_FILE": str(trap)}):
        env = {"EQUINIX_CLIENT_ID": "an-id-of-mine", **secret}
        with Served("--connector", "equinix", "--practice", env=env) as served:
            result = served.call("list_fabric_ports").result
            assert result["structuredContent"]["data"]
            assert "practice" in json.dumps(result["_meta"])
            served.stop()
            assert TOKEN not in served.said()
    lines = audited()
    assert TOKEN not in json.dumps(lines)
    assert {line["practice"] for line in lines if line["kind"] == "intent"} == {True}
