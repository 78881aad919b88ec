"""What the client sent to the practice upstream, held against the documents by an independent validator.

`tests/rust/practice_connectors.rs` keeps the requests as they crossed the socket; `nox -s python` runs it first. Where
they are not there (pytest alone, or a vendor's document is missing) these tests are skipped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("BARTIZAN_SHARED", ROOT.parent / "shared"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

DOCUMENTS = {
    "vendor": SHARED / "specs" / "equinix" / "fabricv4.patched.yaml",
    "equinix": ROOT / "src" / "connectors" / "catalog" / "equinix" / "openapi.json",
}
CONFIG = Config(
    spec_validator_cls=None,  # type: ignore[arg-type, unused-ignore] # a vendor's document need not be perfect
    extra_media_type_deserializers={"application/json-patch+json": json.loads},
)

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported scheme type")


class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """YAML without the types that JSON does not have."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        letter: [pair for pair in pairs if pair[0] not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Sent:
    """A recorded request in the shape that the validator reads."""

    host_url = "https://api.equinix.com"

    def __init__(self, recorded: dict[str, Any]) -> None:
        """Take a request as the practice upstream recorded it."""
        headers = Headers(recorded["headers"])
        self.method: str = recorded["method"].lower()
        self.path: str = recorded["path"]
        self.content_type = headers.get("content-type", "")
        self.body: bytes | None = recorded["body"].encode() or None
        self.parameters = RequestParameters(
            path={},
            query=ImmutableMultiDict(parse_qsl(recorded["query"], keep_blank_values=True)),
            header=headers,
            cookie=ImmutableMultiDict(),
        )


def recorded(name: str) -> list[dict[str, Any]]:
    file = TARGET / "tmp" / f"practice-requests-{name}.json"
    if not file.exists() or not DOCUMENTS[name].exists():
        pytest.skip(f"{file.name} or its document is not there; run the Rust tests first")
    requests: list[dict[str, Any]] = json.loads(file.read_text())
    return requests


def document(name: str) -> OpenAPI:
    return OpenAPI.from_dict(yaml.load(DOCUMENTS[name].read_text(), Loader=Loader), config=CONFIG)  # noqa: S506 - it is a safe loader


def problems(api: OpenAPI, request: dict[str, Any]) -> list[str]:
    return [f"{error}: {error.__cause__}" for error in api.iter_request_errors(Sent(request))]


@pytest.mark.parametrize("name, least", [("vendor", 194), ("equinix", 30)])
def test_every_request_that_was_sent_fits_the_document(name: str, least: int) -> None:
    requests = recorded(name)
    assert len(requests) >= least
    api = document(name)
    wrong = {request["operation"]: found for request in requests if (found := problems(api, request))}
    assert not wrong


def test_the_validator_notices_what_is_wrong() -> None:
    requests = recorded("equinix")
    api = document("equinix")
    order = next(request for request in requests if request["operation"] == "createConnection")
    assert not problems(api, order)
    body = json.loads(order["body"])
    body["bandwidth"] = "fast"
    assert problems(api, {**order, "body": json.dumps(body)})
    assert problems(api, {**order, "path": "/fabric/v4/nowhere"})
    assert problems(api, {**order, "headers": [["content-type", "text/plain"]]})
