"""API documents to measure with: the same for the same seed, and like those that vendors publish.

usage: documents.py KIND FILE

Owns :func:`rich`, :func:`vast` and :func:`many`. The idea: what makes a document slow is not its length alone but long
descriptions, examples, schemas that refer to each other in circles, and the same parameters said a thousand times; all
of it is here, in the proportions of real documents.

Must not: copy words or names of a vendor's document.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

THINGS = (
    "account", "alert", "backup", "bucket", "calendar", "certificate", "circuit", "cluster", "contact", "contract",
    "database", "device", "domain", "event", "firewall", "flow", "folder", "gateway", "group", "image", "incident",
    "invoice", "job", "key", "license", "listener", "location", "mailbox", "member", "message", "metric", "network",
    "node", "order", "package", "peer", "pipeline", "policy", "port", "product", "profile", "project", "queue",
    "quota", "record", "region", "release", "report", "role", "route", "router", "rule", "schedule", "secret",
    "server", "service", "session", "share", "site", "snapshot", "subnet", "subscription", "task", "team", "template",
    "tenant", "ticket", "token", "trigger", "tunnel", "user", "vault", "volume", "webhook", "workflow", "zone",
)  # fmt: skip
ACTIONS = (
    "activate", "archive", "assign", "attach", "clone", "connect", "detach", "disable", "enable", "export", "import",
    "lock", "move", "pause", "publish", "refresh", "renew", "replace", "reset", "resize", "restart", "restore",
    "resume", "rotate", "share", "start", "stop", "suspend", "sync", "transfer", "unlock", "validate", "verify",
)  # fmt: skip
WORDS = (
    "a", "the", "of", "that", "which", "is", "are", "may", "must", "its", "when", "until", "after", "each", "default",
    "value", "values", "request", "response", "resource", "identifier", "state", "time", "name", "number", "optional",
    "required", "returned", "unless", "specified", "only", "applies", "changes", "existing", "current", "configured",
    "given", "within", "account", "organization", "caller", "permission", "limit", "result", "results", "page",
)  # fmt: skip
FORMATS: tuple[dict[str, Any], ...] = (
    {},
    {"format": "date-time"},
    {"format": "uuid"},
    {"pattern": "^[a-z][a-z0-9-]{0,62}$"},
    {"maxLength": 255},
)
METHODS = ("get", "post", "get", "put", "patch", "delete")

Json = dict[str, Any]


class Writer:
    """One document in the making."""

    def __init__(self, seed: int, schemas: int, wordy: int, linked: float = 0.17) -> None:
        """Choose the names of its schemas.

        `wordy` is how many words a description has at most, `linked` the share of properties that refer to a schema.
        """
        self.dice = random.Random(seed)  # noqa: S311 - the same document for the same seed is what is wanted
        self.wordy = wordy
        self.linked = linked
        self.names = [f"{THINGS[at % len(THINGS)].capitalize()}{self.part(at // len(THINGS))}" for at in range(schemas)]

    @staticmethod
    def part(number: int) -> str:
        """Return what tells the names of one thing apart."""
        return "".join(THINGS[digit].capitalize() for digit in digits(number, len(THINGS)))

    def words(self, most: int) -> str:
        """Return a sentence or more."""
        text = " ".join(self.dice.choices(WORDS, k=self.dice.randint(4, max(5, most))))
        return text.capitalize() + "."

    def reference(self) -> Json:
        """Return a reference to some schema."""
        return {"$ref": f"#/components/schemas/{self.dice.choice(self.names)}"}

    def property(self, depth: int) -> Json:
        """Return the schema of one property."""
        described: Json = {"description": self.words(self.wordy)} if self.wordy else {}
        kind = self.dice.random()
        if kind < 0.68:
            plain = (
                {"type": "string", **self.dice.choice(FORMATS)},
                {"type": "integer", "format": "int64", "minimum": 0},
                {"type": "boolean", "default": False},
            )
            return {**plain[(kind > 0.45) + (kind > 0.6)], **described}
        if self.dice.random() < self.linked / 0.32:
            one = self.reference()
            return one if kind < 0.88 else {"type": "array", "items": one, **described}
        if kind < 0.95 or depth > 2:
            return {"type": "string", "enum": self.dice.sample(ACTIONS, 5), **described}
        return self.object(self.dice.randint(2, 5), depth + 1)

    def object(self, members: int, depth: int = 0) -> Json:
        """Return the schema of an object."""
        names = self.dice.sample(THINGS, members)
        return {
            "type": "object",
            "properties": {f"{name}_{depth}": self.property(depth) for name in names},
            "required": [f"{name}_{depth}" for name in names[:1]],
        }

    def components(self) -> Json:
        """Return every schema; some are variants of others, some contain themselves."""
        schemas: Json = {}
        for at, name in enumerate(self.names):
            schema = self.object(self.dice.randint(3, 12))
            if at % 9 == 0:
                schema = {"allOf": [self.reference(), schema]}
            elif at % 13 == 0:
                schema["properties"]["children"] = {
                    "type": "array",
                    "items": {"$ref": f"#/components/schemas/{name}"},
                }
            schemas[name] = schema
        return {"schemas": schemas, "parameters": self.parameters()}

    def parameters(self) -> Json:
        """Return the parameters that every list takes."""
        of = (("top", "integer"), ("skip", "integer"), ("search", "string"), ("filter", "string"), ("select", "string"))
        return {
            name: {
                "name": f"${name}",
                "in": "query",
                "description": self.words(12),
                "schema": {"type": kind},
            }
            for name, kind in of
        }

    def example(self, size: int) -> Json:
        """Return an example answer of about so many bytes."""
        items: list[Json] = []
        while size > 0:
            item = {name: self.words(8) for name in self.dice.sample(THINGS, 6)}
            items.append(item)
            size -= len(json.dumps(item))
        return {"items": items}

    def operation(self, method: str, path: str, verb: str, thing: str, extra: int) -> Json:
        """Return one operation; `extra` is how many bytes of it are an example."""
        held = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        parameters: list[Json] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": f"The {name}."}
            for name in held
        ]
        lists = method == "get" and not path.endswith("}")
        if lists:
            parameters += [
                {"$ref": f"#/components/parameters/{name}"} for name in ("top", "skip", "search", "filter", "select")
            ]
        answer: Json = {"schema": {"type": "array", "items": self.reference()} if lists else self.reference()}
        if extra > 0:
            answer["example"] = self.example(extra)
        operation: Json = {
            "operationId": f"{verb}-{thing}-{path.count('/')}-{self.dice.getrandbits(32):x}",
            "summary": f"{verb.capitalize()} {thing}",
            "tags": [path.split("/")[1]],
            "parameters": parameters,
            "responses": {"200": {"description": "Done.", "content": {"application/json": answer}}},
        }
        if self.wordy:
            operation["description"] = self.words(self.wordy * 3)
        if method in {"post", "put", "patch"}:
            body = self.reference() if self.dice.random() < 0.7 else self.object(4)
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        return operation

    def document(self, operations: int, extra: int) -> Json:
        """Return the whole document."""
        paths: Json = {}
        left = operations
        number = 0
        while left > 0:
            first, second, third = (self.dice.choice(THINGS) for _ in range(3))
            deep = f"/{first}s/{{{first}_id}}/{second}s"
            whole = (f"/{first}s{number}", deep + str(number), f"{deep}{number}/{{{second}_id}}/{third}s")[number % 3]
            for path, methods in ((whole, ("get", "post")), (f"{whole}/{{id}}", METHODS[2:])):
                item = paths.setdefault(path, {})
                for method in methods:
                    if left > 0:
                        verb = {"get": "list" if path == whole else "get", "post": "create", "put": "replace",
                                "patch": "update", "delete": "delete"}[method]  # fmt: skip
                        item[method] = self.operation(method, path, verb, (first, second, third)[number % 3], extra)
                        left -= 1
            action = self.dice.choice(ACTIONS)
            if left > 0:
                act = f"{whole}/{{id}}/{action}"
                paths[act] = {"post": self.operation("post", act, action, second, extra)}
                left -= 1
            number += 1
        return {
            "openapi": "3.0.3",
            "info": {"title": "Measured", "version": "1"},
            "servers": [{"url": "https://api.example.com/v1"}],
            "paths": paths,
            "components": self.components(),
        }


def digits(number: int, base: int) -> list[int]:
    """Return a number's digits; none for zero."""
    found = []
    while number:
        found.append(number % base)
        number //= base
    return found


def rich(seed: int = 1) -> Json:
    """Return 1,223 operations in 13 MB: long words, examples, and schemas that say much."""
    return Writer(seed, schemas=1_700, wordy=60).document(1_223, extra=5_850)


def vast(seed: int = 2) -> Json:
    """Return 22,000 operations in 41 MB: short words, and thousands of schemas that refer to each other."""
    return Writer(seed, schemas=9_500, wordy=36).document(22_000, extra=0)


def many(seed: int = 3) -> Json:
    """Return 5,000 operations whose tools are as large as those of usual documents: 2 kB each."""
    return Writer(seed, schemas=400, wordy=6, linked=0.06).document(5_000, extra=0)


KINDS: dict[str, Callable[[], Json]] = {"rich": rich, "vast": vast, "many": many}


def yaml(value: object, depth: int = 0) -> str:
    """Return a value as YAML in block style, as people write it."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        return "".join(
            f"{pad}{json.dumps(key)}:{yaml(item, depth + 1) if nested(item) else ' ' + json.dumps(item) + chr(10)}"
            if not nested(item)
            else f"{pad}{json.dumps(key)}:\n{yaml(item, depth + 1)}"
            for key, item in value.items()
        )
    if isinstance(value, list) and value:
        return "".join(
            f"{pad}-\n{yaml(item, depth + 1)}" if nested(item) else f"{pad}- {json.dumps(item)}\n" for item in value
        )
    return f"{pad}{json.dumps(value)}\n"


def nested(value: object) -> bool:
    """Say whether a value needs lines of its own."""
    return isinstance(value, (dict, list)) and bool(value)


def write(kind: str, path: Path) -> Path:
    """Write a document, as YAML where the name ends so, and return its path."""
    document = KINDS[kind]()
    path.write_text(yaml(document) if path.suffix in {".yaml", ".yml"} else json.dumps(document))
    return path


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
