"""Requests as they cross the socket, held against libraries that others wrote.

`uritemplate` (RFC 6570, to which the specification refers for its styles) and `bravado-core` (Swagger 2.0) encode the
same values, and what they write is compared with what was sent; `openapi-core`, `qs-codec` and `werkzeug` decode what
was sent, and what they read is compared with what was meant.
"""

from __future__ import annotations

import io
import json
import random
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import qs_codec
from commands import Asked, Served, Upstream
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from uritemplate import expand
from werkzeug.datastructures import Headers, ImmutableMultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_cookie, parse_options_header

with warnings.catch_warnings():
    # It asks jsonschema for what that will not have for ever.
    warnings.simplefilter("ignore", DeprecationWarning)
    from bravado_core.param import Param, marshal_param
    from bravado_core.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

JSON = dict[str, Any]
BASE = "/base"
TEXT: JSON = {"type": "string"}
SCHEMAS: dict[str, JSON] = {
    "primitive": TEXT,
    "array": {"type": "array", "items": TEXT},
    "object": {
        "type": "object",
        "properties": dict.fromkeys(("B", "G", "R", "k", "l m", "one", "a", "b"), TEXT),
        "additionalProperties": TEXT,
    },
}
OPERATORS = {("path", "simple"): "", ("path", "label"): ".", ("path", "matrix"): ";", ("query", "form"): "?"}
STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
DELIMITERS = {"spaceDelimited": " ", "pipeDelimited": "|"}
COLLECTIONS = ("csv", "ssv", "tsv", "pipes", "multi")

# Paths hold no empty values, no slashes and no dots alone: such arguments are refused before anything is encoded.
SPECIAL = "aB9 -._~!$&'()*+,;=:@?#[]\"<>^`{|}äß€日😀"
PRIMITIVES = ["blue", "a b", "ä€日😀", "a,b", "50%", "a&b=c?d#e", "%41%2C", "it's", "x+y", "[z]", "a;b=c", "1", "true"]
ARRAYS = [["blue", "black", "brown"], ["a b", "ü"], ["a,b", "c&d", "e=f"], ["only"], ["%2C", "|", "\u00a0x"]]
OBJECTS = [{"B": "150", "G": "200", "R": "100"}, {"k": "a,b&c=d", "l m": "ü x"}, {"one": "x"}]


def some(seed: int, count: int) -> list[Any]:
    """Return texts of every character that means something somewhere."""
    chance = random.Random(seed)  # noqa: S311 - chance, no secret
    texts = ["".join(chance.choices(SPECIAL, k=chance.randint(1, 8))) + "x" for _ in range(count * 3)]
    return [text for text in texts if text == text.strip()][:count]


def texts(value: Any) -> list[str]:
    """Return every text in a value."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list) else [value]


def values(place: str, kind: str) -> list[Any]:
    made = some(7, 24)
    found: list[Any] = {
        "primitive": PRIMITIVES + made,
        "array": ARRAYS + [made[at : at + 3] for at in range(0, 24, 3)],
        "object": OBJECTS + [{"a": made[at], "b": made[at + 1]} for at in range(0, 24, 4)],
    }[kind]
    if place == "path":
        return found
    empty: dict[str, list[Any]] = {"primitive": [""], "array": [[], ["", "b"]], "object": [{"a": ""}]}
    return found + empty[kind]


class Case(NamedTuple):
    """A combination that the specification gives a meaning."""

    place: str
    style: str
    explode: bool
    kind: str

    def __str__(self) -> str:
        return "_".join(str(part).lower() for part in self)


def combinations() -> Iterator[Case]:
    for place, styles in STYLES.items():
        for style in styles:
            for explode in (False, True):
                for kind in SCHEMAS:
                    # What the specification gives no meaning: a delimiter for one value, or for exploded ones.
                    if style in DELIMITERS and (explode or kind == "primitive"):
                        continue
                    if style == "deepObject" and (not explode or kind != "object"):
                        continue
                    yield Case(place, style, explode, kind)


def operation(**more: Any) -> JSON:
    return {**more, "responses": {"200": {"description": "fine"}}}


def parameter(place: str, schema: JSON, **more: Any) -> JSON:
    return {"name": "v", "in": place, "required": place == "path", "schema": schema, **more}


FORMS: dict[str, JSON] = {
    "plain": {},
    "list_exploded": {"l": {"style": "form", "explode": True}},
    "list_joined": {"l": {"style": "form", "explode": False}},
    "list_spaced": {"l": {"style": "spaceDelimited"}},
    "list_piped": {"l": {"style": "pipeDelimited"}},
    "object_deep": {"o": {"style": "deepObject", "explode": True}, "l": {"style": "deepObject"}},
    "object_exploded": {"o": {"style": "form", "explode": True}},
    "object_joined": {"o": {"style": "form", "explode": False}},
    "object_json": {"o": {"contentType": "application/json"}},
}


def document() -> JSON:
    """Return a document with an operation for every combination."""
    paths: JSON = {}
    for case in combinations():
        own = str(case)
        described = parameter(case.place, SCHEMAS[case.kind], style=case.style, explode=case.explode)
        paths[f"/{own}/{{v}}/end" if case.place == "path" else f"/{own}"] = {
            "get": operation(operationId=own, parameters=[described])
        }
    others = {
        "query_reserved": parameter("query", TEXT, allowReserved=True),
        "query_empty": parameter("query", {"type": "integer"}, allowEmptyValue=True),
        "query_nested": parameter("query", {"type": "object"}, style="deepObject"),
        "query_json": {"name": "v", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
    }
    for own, described in others.items():
        paths[f"/{own}"] = {"get": operation(operationId=own, parameters=[described])}
    form = {
        "type": "object",
        "properties": {
            "s": TEXT,
            "l": SCHEMAS["array"],
            "o": {"type": "object"},
            "f": {"type": "string", "format": "binary"},
        },
    }
    for media, short in (("application/x-www-form-urlencoded", "form"), ("multipart/form-data", "parts")):
        for own, encoding in FORMS.items():
            body = {"content": {media: {"schema": form, "encoding": encoding}}}
            paths[f"/{short}_{own}"] = {"post": operation(operationId=f"{short}_{own}", requestBody=body)}
    return {
        "openapi": "3.0.3",
        "info": {"title": "three", "version": "1"},
        "servers": [{"url": "http://upstream.example/base"}],
        "paths": paths,
    }


def older() -> JSON:
    """Return the same for Swagger 2.0."""
    paths: JSON = {}
    for place in ("path", "query", "header", "formData"):
        for collection in COLLECTIONS:
            if collection == "multi" and place in {"path", "header"}:
                continue
            own = f"old_{place}_{collection}".lower()
            described = {
                "name": "v",
                "in": place,
                "type": "array",
                "items": TEXT,
                "required": True,
                "collectionFormat": collection,
            }
            method = "post" if place == "formData" else "get"
            paths[f"/{own}/{{v}}" if place == "path" else f"/{own}"] = {
                method: operation(operationId=own, parameters=[described])
            }
    fields = [
        {"name": "note", "in": "formData", "type": "string"},
        {"name": "tags", "in": "formData", "type": "array", "items": TEXT, "collectionFormat": "pipes"},
    ]
    file = {"name": "file", "in": "formData", "type": "file", "required": True}
    paths["/old_upload"] = {
        "post": operation(operationId="old_upload", consumes=["multipart/form-data"], parameters=[*fields, file])
    }
    paths["/old_form"] = {"post": operation(operationId="old_form", parameters=fields)}
    body = {"name": "b", "in": "body", "schema": {"type": "object"}}
    paths["/old_body"] = {
        "post": operation(operationId="old_body", consumes=["application/vnd.acme+json"], parameters=[body])
    }
    csv = {"200": {"description": "fine", "schema": {"type": "string"}}}
    paths["/old_csv"] = {"get": {"operationId": "old_csv", "produces": ["text/csv"], "responses": csv}}
    return {
        "swagger": "2.0",
        "info": {"title": "two", "version": "1"},
        "host": "evil.example",
        "basePath": "/base",
        "schemes": ["https"],
        "consumes": ["application/x-www-form-urlencoded"],
        "produces": ["application/xml", "application/vnd.acme+json"],
        "paths": paths,
    }


def reply(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


class Site:
    """A server in front of an upstream that writes down what it is sent."""

    def __init__(self, served: Served, upstream: Upstream) -> None:
        self.served = served
        self.upstream = upstream

    def sent(self, tool: str, **arguments: Any) -> Asked:
        """Call a tool and return its request."""
        before = len(self.upstream.seen)
        answer = self.served.call(tool, arguments)
        assert not answer.result.get("isError"), (tool, arguments, answer.result)
        assert len(self.upstream.seen) == before + 1
        return self.upstream.seen[-1]

    def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool whose arguments cannot be sent, and return why."""
        before = len(self.upstream.seen)
        answer = self.served.call(tool, arguments)
        assert len(self.upstream.seen) == before, "nothing is sent"
        return json.dumps(answer.json)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("encoding")
    (folder / "three.json").write_text(json.dumps(document()))
    (folder / "two.json").write_text(json.dumps(older()))
    with Upstream(reply) as upstream:
        address = f"http://127.0.0.1:{upstream.port}"
        sources = "".join(
            f'[[openapi]]\nname = "{file}"\nfile = "{file}.json"\nbase_url = "{address}"\n' for file in ("three", "two")
        )
        quota = "{ per_minute = 600000, burst = 100000 }"
        config = folder / "bartizan.toml"
        config.write_text(
            f'state_dir = "state"\n{sources}[policy]\nset = "admin"\n[offer]\nsearch = "off"\n'
            f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}"]\n'
            f"[limits]\nread = {quota}\nwrite = {quota}\nrefusals = {quota}\n"
        )
        config.chmod(0o600)
        with Served("--config", config, "--no-auth") as served:
            yield Site(served, upstream)


def target(asked: Asked) -> tuple[str, str]:
    parts = urlsplit(asked.path)
    return parts.path, parts.query


def template(operator: str, case: Case) -> str:
    return f"{{{operator}v{'*' if case.explode else ''}}}"


@pytest.mark.parametrize("case", [case for case in combinations() if case[:2] in OPERATORS], ids=str)
def test_paths_and_queries_are_written_as_rfc_6570_has_them(site: Site, case: Case) -> None:
    for value in values(case.place, case.kind):
        expected = expand(template(OPERATORS[case[:2]], case), v=value)
        # What some servers read as a dot segment is not sent (nor is a slash, which no value here has).
        if case.place == "path" and expected.startswith(".%3B"):
            assert site.refused(str(case), v=value)
            continue
        path, query = target(site.sent(str(case), v=value))
        if case.place == "path":
            assert path == f"{BASE}/{case}/{expected}/end", value
        else:
            assert (path, query) == (f"{BASE}/{case}", expected.removeprefix("?")), value


@pytest.mark.parametrize("case", [case for case in combinations() if case.place == "header"], ids=str)
def test_headers_are_the_same_without_percent_encoding(site: Site, case: Case) -> None:
    for value in values("header", case.kind):
        text = "".join(texts(value))
        if not text.isascii() or (case.kind != "primitive" and "," in text):
            assert site.refused(str(case), v=value)
            continue
        asked = site.sent(str(case), v=value)
        # White space around a value is none of it (RFC 9110, 5.5).
        assert asked.headers.get("v", "").strip() == unquote(expand(template("", case), v=value)).strip(), value


@pytest.mark.parametrize("case", [case for case in combinations() if case.place == "cookie"], ids=str)
def test_cookies_are_pairs(site: Site, case: Case) -> None:
    for value in values("cookie", case.kind):
        if case.explode and isinstance(value, dict) and not all(key.isalnum() for key in value):
            assert site.refused(str(case), v=value)
            continue
        sent = site.sent(str(case), v=value).headers.get("cookie", "")
        if case.explode and case.kind != "primitive":
            pairs = expand("{;v*}", v=value).removeprefix(";").split(";")
            # RFC 6570 leaves the sign out where nothing follows it; a cookie has it.
            expected = "; ".join(pair if "=" in pair else f"{pair}=" for pair in pairs if pair)
        else:
            expected = "" if value == [] else f"v={expand('{v}', v=value)}"
        assert sent == expected, value
        if case.kind == "primitive":
            assert unquote(parse_cookie(sent)["v"]) == value


CONFIG = Config(spec_validator_cls=None)  # type: ignore[arg-type, unused-ignore] # the document is ours


class Sent:
    """A request in the shape that openapi-core reads."""

    host_url = "http://upstream.example"
    body = None
    content_type = ""

    def __init__(self, asked: Asked) -> None:
        """Take a request as the upstream saw it."""
        path, query = target(asked)
        self.method = asked.method.lower()
        self.path = unquote(path)
        cookies = [
            (key, unquote(value)) for key, value in parse_cookie(asked.headers.get("cookie", "")).items(multi=True)
        ]
        self.parameters = RequestParameters(
            path={},
            query=ImmutableMultiDict(parse_qsl(query, keep_blank_values=True)),
            header=Headers(list(asked.headers.items())),
            cookie=ImmutableMultiDict(cookies),
        )


def plain(value: Any) -> bool:
    """Whether nothing in a value means something in a list, an address or a header."""
    return bool(texts(value)) and all(text.isalnum() and text.isascii() for text in texts(value))


def readable(case: Case) -> bool:
    """Whether openapi-core can: not these styles of paths, not a space that is encoded, no object without its name."""
    unread = case.style in {"label", "matrix", "spaceDelimited"}
    return not unread and case[1:] != ("form", True, "object")


@pytest.mark.parametrize("case", [case for case in combinations() if readable(case)], ids=str)
def test_a_server_reads_what_was_meant(site: Site, case: Case) -> None:
    api = OpenAPI.from_dict(document(), config=CONFIG)
    read = 0
    for value in values(case.place, case.kind):
        # A server that decodes before it parts cannot tell delimiters from characters: with those, RFC 6570 decides.
        single = case.place == "query" and case.kind == "primitive" and value
        if not plain(value) and not single:
            continue
        result = api.unmarshal_request(Sent(site.sent(str(case), v=value)))
        assert not result.errors, (value, result.errors)
        assert getattr(result.parameters, case.place)["v"] == value
        read += 1
    assert read > 0


@pytest.mark.parametrize("style", sorted(DELIMITERS))
def test_an_item_that_would_be_read_as_two_is_refused(site: Site, style: str) -> None:
    mark = DELIMITERS[style]
    tool = {case.kind: str(case) for case in combinations() if case.style == style}
    for kind, value in (("array", ["a", f"b{mark}c"]), ("object", {"k": f"b{mark}c"})):
        assert "parts items" in site.refused(tool[kind], v=value)
    for value in values("query", "array"):
        if any(mark in item for item in value):
            continue
        _, query = target(site.sent(tool["array"], v=value))
        assert parse_qsl(query, keep_blank_values=True) == ([("v", mark.join(value))] if value else [])


def leaves(value: Any) -> Any:
    """Return a value as a query can hold it: texts only."""
    if isinstance(value, dict):
        return {key: leaves(item) for key, item in value.items()}
    if isinstance(value, list):
        return [leaves(item) for item in value]
    return value if isinstance(value, str) else json.dumps(value)


NESTED: list[JSON] = [
    {"a": "b"},
    {"a": {"b": {"c": "d e&f=g"}, "ü": "1"}},
    {"list": ["x", "y,z"], "n": 7, "flag": True},
    {"items": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]},
    {"deep": {"list": [{"a": ["1", "2"]}, {"a": ["3", "4"]}]}},
]


def test_nested_objects_are_read_back_as_they_were(site: Site) -> None:
    for value in NESTED:
        _, query = target(site.sent("query_nested", v=value))
        assert qs_codec.decode(query) == {"v": leaves(value)}, query
        body = site.sent("form_object_deep", body={"o": value, "l": ["x", "y z"]}).body.decode()
        assert qs_codec.decode(body.replace("+", "%20")) == {"o": leaves(value), "l": ["x", "y z"]}, body


def test_reserved_characters_empty_values_and_json_in_queries(site: Site) -> None:
    reserved = "a:/?@!$()*,;z"
    _, query = target(site.sent("query_reserved", v=reserved))
    assert query == f"v={expand('{+v}', v=reserved)}"
    for value in PRIMITIVES + some(3, 20):
        _, query = target(site.sent("query_reserved", v=value))
        assert parse_qsl(query) == [("v", value)]
    assert target(site.sent("query_empty", v=""))[1] == expand("{?v}", v="").removeprefix("?")
    assert target(site.sent("query_empty", v=7))[1] == "v=7"
    assert site.refused("query_empty", v="seven")
    value = {"a": [1, {"b": "c&d=ü"}]}
    _, query = target(site.sent("query_json", v=value))
    assert [(key, json.loads(text)) for key, text in parse_qsl(query)] == [("v", value)]


def fields(asked: Asked) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """Return the fields and files of a form as werkzeug reads them."""
    media, options = parse_options_header(asked.headers["content-type"])
    parser = FormDataParser(silent=False)
    _, form, files = parser.parse(io.BytesIO(asked.body), media, len(asked.body), options)
    read = {key: file.read() for key, file in files.items()}
    for file in files.values():
        file.close()
    return list(form.items(multi=True)), read


@pytest.mark.parametrize("media", ["form", "parts"])
def test_forms_are_read_back_field_by_field(site: Site, media: str) -> None:
    for listed in ARRAYS:
        for own, expected in (
            ("plain", [("l", item) for item in listed]),
            ("list_exploded", [("l", item) for item in listed]),
            ("list_joined", [("l", ",".join(listed))]),
            ("list_spaced", [("l", " ".join(listed))]),
            ("list_piped", [("l", "|".join(listed))]),
        ):
            mark = {"list_spaced": " ", "list_piped": "|"}.get(own)
            # A part of a multipart body is not percent-encoded: a comma there is one that parts.
            mark = "," if media == "parts" and own == "list_joined" else mark
            if mark and any(mark in item for item in listed):
                assert "parts items" in site.refused(f"{media}_{own}", body={"l": listed})
                continue
            found, _ = fields(site.sent(f"{media}_{own}", body={"s": "a b&c=ü+", "l": listed}))
            assert found == [("s", "a b&c=ü+"), *expected], own
    for value in OBJECTS:
        for own, pairs in (
            ("plain", [("o", json.dumps(value, ensure_ascii=False, separators=(",", ":")))]),
            ("object_json", [("o", json.dumps(value, ensure_ascii=False, separators=(",", ":")))]),
            ("object_deep", [(f"o[{key}]", text) for key, text in value.items()]),
            ("object_exploded", list(value.items())),
        ):
            found, _ = fields(site.sent(f"{media}_{own}", body={"o": value}))
            assert found == pairs, own
    joined = fields(site.sent(f"{media}_object_joined", body={"o": OBJECTS[0]}))[0]
    assert joined == [("o", expand("{o}", o=OBJECTS[0]))]


def test_files_are_bytes(site: Site) -> None:
    found, files = fields(site.sent("parts_plain", body={"s": "x", "f": "AAEC/w=="}))
    assert (found, files) == ([("s", "x")], {"f": b"\x00\x01\x02\xff"})
    found, files = fields(site.sent("old_upload", body={"note": "ü", "tags": ["a", "b c"], "file": "AAEC/w=="}))
    assert (found, files) == ([("note", "ü"), ("tags", "a|b c")], {"file": b"\x00\x01\x02\xff"})
    assert "base64" in site.refused("parts_plain", body={"f": "no base64!"})


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver")
def test_collections_of_version_two_are_written_as_bravado_writes_them(site: Site) -> None:
    # Not built: that would ask the network for the schemas of the specification.
    spec = Spec(older(), config={"validate_swagger_spec": False})
    marks = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|"}
    for key, item in older()["paths"].items():
        for operation_spec in item.values():
            own = operation_spec["operationId"]
            described = operation_spec.get("parameters", [{}])[0]
            if described.get("name") != "v":
                continue
            mark = marks.get(described["collectionFormat"], "\0")
            for value in ARRAYS:
                place = described["in"]
                text = "".join(value)
                arguments = {"body": {"v": value}} if place == "formData" else {"v": value}
                clash = mark in text and (mark != "," or place == "header")
                # A tab is in no address and in no header, encoded or not.
                tab = mark == "\t" and place in {"path", "header"} and len(value) > 1
                if clash or tab or (place == "header" and not text.isascii()):
                    assert site.refused(own, **arguments)
                    continue
                request: JSON = {"headers": {}, "params": {}, "url": f"http://x{BASE}{key}", "data": {}, "files": []}
                marshal_param(Param(spec, None, described), value, request)
                asked = site.sent(own, **arguments)
                path, query = target(asked)
                if place == "path":
                    # What both send is the same text; which of its characters are encoded is not.
                    assert unquote(path) == unquote(urlsplit(request["url"]).path)
                elif place == "header":
                    assert asked.headers["v"] == request["headers"]["v"]
                else:
                    meant = request["params" if place == "query" else "data"]["v"]
                    pairs = [("v", one) for one in ([meant] if isinstance(meant, str) else meant)]
                    assert parse_qsl(query if place == "query" else asked.body.decode()) == pairs


def test_what_version_two_says_of_bodies_and_answers_is_honoured(site: Site) -> None:
    asked = site.sent("old_form", body={"note": "a b", "tags": ["x", "y"]})
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert fields(asked)[0] == [("note", "a b"), ("tags", "x|y")]
    asked = site.sent("old_body", body={"a": 1})
    assert (asked.headers["content-type"], json.loads(asked.body)) == ("application/vnd.acme+json", {"a": 1})
    asked = site.sent("old_csv")
    assert asked.headers["accept"].split(",")[0] == "text/csv"
    assert asked.path == f"{BASE}/old_csv", "basePath counts, and host does not"
