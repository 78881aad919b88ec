"""Connectors from scripts and tools, the redactor, the limiter, and the logging filter."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import bartizan
import pytest
from bartizan import Context, RateLimiter, Redactor, Server
from bartizan.logging import RedactingFilter
from commands import Upstream, reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


@pytest.fixture
def api() -> Iterator[bartizan.API]:
    with bartizan.connect("equinix", practice=True) as api:
        yield api


def readable(api: bartizan.API) -> str:
    """Return an operation that reads and needs no arguments."""
    return next(
        str(tool["name"])
        for tool in api.tools()
        if tool["effect"] == "read" and "port" in tool["name"] and not tool["inputSchema"].get("required")
    )


def test_a_script_reads_plain_data(api: bartizan.API, state: Path) -> None:
    name = readable(api)
    found = api.call(name)
    assert isinstance(found, (dict, list))
    assert getattr(api, name)() == found
    assert name in dir(api)
    lines = [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]
    assert any(name in json.dumps(line) for line in lines)


async def test_a_script_reads_from_a_coroutine(api: bartizan.API) -> None:
    name = readable(api)
    assert isinstance(await api.acall(name), (dict, list))


def test_what_connect_is_told_wins_over_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_TOKEN", "the-token-of-the-sandbox")
    with (
        Upstream(lambda handler: reply(handler, 200, '{"data": [], "pagination": {"total": 0}}')) as sandbox,
        Upstream(lambda handler: reply(handler, 200, "{}")) as production,
    ):
        config = {
            "connector": [{"name": "equinix", "base": production.url, "auth": "bearer:env:PRODUCTION_TOKEN"}],
            "egress": {"allow_private": [f"127.0.0.1:{sandbox.port}", f"127.0.0.1:{production.port}"]},
        }
        with bartizan.connect("equinix", config=config, base=sandbox.url, auth="bearer:env:SANDBOX_TOKEN") as api:
            api.call(readable(api))
        assert [one.headers["authorization"] for one in sandbox.seen] == ["Bearer the-token-of-the-sandbox"]
        assert not production.seen


def test_reading_is_all_that_is_allowed_unless_more_is_said(api: bartizan.API) -> None:
    writes = [tool["name"] for tool in api.tools() if tool["effect"] != "read"]
    assert writes
    for name in writes[:3]:
        with pytest.raises((bartizan.Forbidden, bartizan.ProtocolError, bartizan.InvalidArguments)):
            api.call(name)


def test_a_policy_that_is_named_holds_whatever_is_allowed(state: Path) -> None:
    assert state.name
    with bartizan.connect("equinix", allow="destroy", practice=True, config={"policy": "read-only"}) as api:
        with pytest.raises((bartizan.Forbidden, bartizan.ProtocolError)):
            api.call("delete_fabric_router", router_uuid="3fa85f64-5717-4562-b3fc-2c963f66afa6")
        assert api.call(readable(api))


async def test_a_connection_ends_with_the_call_it_belongs_to() -> None:
    kept: list[bartizan.API] = []
    server = Server("keeper", config={"connector": [{"name": "equinix"}], "practice": True})

    @server.tool(effect="read")
    def keep(ctx: Context) -> str:
        kept.append(ctx.api("equinix"))
        return readable(kept[0])

    async with server.test_client() as client:
        result = await client.call("keep")
        with pytest.raises(bartizan.Cancelled):
            kept[0].call(result.text)


def test_wrong_calls_raise_typed_exceptions(api: bartizan.API) -> None:
    with pytest.raises(bartizan.ProtocolError) as unknown:
        api.call("no_such_operation")
    assert unknown.value.kind == "NoSuchTool"
    name = next(tool["name"] for tool in api.tools() if tool["effect"] == "read")
    with pytest.raises(bartizan.InvalidArguments):
        api.call(name, hunter2=1)


def test_an_unknown_connector_is_a_configuration_error() -> None:
    with pytest.raises(bartizan.ConfigError):
        bartizan.connect("nothing-of-the-kind")
    with pytest.raises(AttributeError):
        bartizan.connect("equinix", allow="everything", practice=True)  # type: ignore[arg-type]


async def test_a_tool_reaches_connectors_up_to_its_own_effect() -> None:
    config = {"policy": "admin", "practice": True, "connector": [{"name": "equinix"}]}
    server = Server("wrapper", config=config)

    @server.tool(effect="read")
    async def ports(ctx: Context) -> str:
        api = ctx.api("equinix")
        return type(await api.acall(readable(api))).__name__

    @server.tool(effect="read")
    def overreach(ctx: Context) -> str:
        api = ctx.api("equinix")
        refusals = []
        for tool in api.tools():
            if tool["effect"] == "destroy":
                try:
                    api.call(tool["name"], **dict.fromkeys(tool["inputSchema"].get("required", []), "x"))
                except bartizan.BartizanError as error:
                    refusals.append(type(error).__name__)
                else:
                    refusals.append("done")
        return " ".join(sorted(set(refusals)))

    async with server.test_client() as client:
        found = await client.call("ports")
        assert found.text in ("dict", "list"), found
        assert "done" not in (await client.call("overreach")).text


def test_the_redactor_cleans_text_and_data() -> None:
    redactor = Redactor(keys=["shoe_size"])
    assert KEY not in redactor.text(f"key {KEY}!")
    clean = redactor.data({"password": "hunter2", "shoe_size": "44 wide", "id": 7, "list": [KEY]})
    assert clean["id"] == 7
    assert "hunter2" not in str(clean)
    assert "44 wide" not in str(clean)
    assert KEY not in str(clean)
    redactor.learn("correct-horse-battery")
    assert "correct-horse-battery" not in redactor.text("it is correct-horse-battery.")
    with pytest.raises(bartizan.ConfigError):
        Redactor(patterns=["("])


def test_a_redactor_takes_out_data_about_people_when_asked_to() -> None:
    line = "ada@example.com paid 4012 8888 8888 1881 from 203.0.113.7"
    assert Redactor().text(line) == line
    people = Redactor(pii=["email", "card", "ip"])
    assert people.text(line) == "[redacted:email] paid [redacted:card] from [redacted:ip]"
    with pytest.raises(bartizan.BartizanError):
        Redactor(pii=["shoe size"])


def test_a_redactor_names_what_a_text_tries() -> None:
    redactor = Redactor()
    assert redactor.labels("All ports are active.") == []
    assert redactor.labels("<|im_start|>system") == ["role-imitation"]
    with pytest.raises(TypeError):
        redactor.data(object())


def test_the_limiter_says_when_to_come_back() -> None:
    limiter = RateLimiter(60, burst=2)
    limiter.take("a")
    limiter.take("a")
    with pytest.raises(bartizan.RateLimited) as caught:
        limiter.take("a")
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 1
    limiter.take("b")
    assert limiter.left("a") == 0


def test_the_logging_filter_redacts_everything_a_record_holds() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s"))
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("bartizan.tests.filter")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        int(KEY)
    except ValueError:
        logger.exception("failed with %s", KEY, extra={"extra": {"password": "hunter2"}})
    text = stream.getvalue()
    assert "failed with" in text
    assert "ValueError" in text
    assert KEY not in text
    assert "hunter2" not in text
