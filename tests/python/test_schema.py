"""Signatures and docstrings become schemas, and JSON becomes what was declared."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import pydantic
import pytest
from bartizan import ConfigError, Context, Field, docstrings
from bartizan.results import dump
from bartizan.scalars import Misfit
from bartizan.schema import Builder, signature
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import NotRequired, Required


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Node:
    """A node of a tree.

    Args:
        name: what it is called
    """

    name: str
    kids: list[Node] = dataclasses.field(default_factory=list)
    weight: float = 1.0


class Movie(TypedDict, total=False):
    title: Required[str]
    year: int


class Book(TypedDict):
    title: str
    pages: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: int = 0


class Person(pydantic.BaseModel):
    name: str
    friends: list[Person] = []


UserId = NewType("UserId", int)

SHAPES: list[tuple[Any, dict[str, Any], Any, Any]] = [
    (str, {"type": "string"}, "x", "x"),
    (int, {"type": "integer"}, 3.0, 3),
    (float, {"type": "number"}, 3, 3.0),
    (bool, {"type": "boolean"}, True, True),
    (None, {"type": "null"}, None, None),
    (Any, {}, {"a": 1}, {"a": 1}),
    (bytes, {"type": "string", "contentEncoding": "base64"}, "YWJj", b"abc"),
    (list[int], {"type": "array", "items": {"type": "integer"}}, [1, 2.0], [1, 2]),
    (list, {"type": "array"}, [1], [1]),
    (Sequence[str], {"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
    (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ["a"], {"a"}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [1], (1,)),
    (
        tuple[int, str],
        {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "items": False,
        },
        [1, "a"],
        (1, "a"),
    ),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1.0}, {"a": 1}),
    (Mapping[str, Any], {"type": "object"}, {"a": None}, {"a": None}),
    (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),
    (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "a", "a"),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1.0, 1),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "b", "b"),
    (Literal["a", 1, None], {"enum": ["a", 1, None]}, 1, 1),
    (Color, {"type": "string", "enum": ["red", "blue"]}, "blue", Color.BLUE),
    (Level, {"type": "integer", "enum": [1, 2]}, 2, Level.HIGH),
    (UserId, {"type": "integer"}, 7, 7),
    (Decimal, {"type": ["string", "number"]}, "1.10", Decimal("1.10")),
    (Path, {"type": "string", "format": "path"}, "a/b", Path("a/b")),
    (
        uuid.UUID,
        {"type": "string", "format": "uuid"},
        "12345678-1234-5678-1234-567812345678",
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
    ),
    (datetime.date, {"type": "string", "format": "date"}, "2026-07-28", datetime.date(2026, 7, 28)),
    (
        datetime.datetime,
        {"type": "string", "format": "date-time"},
        "2026-07-28T10:00:00Z",
        datetime.datetime(2026, 7, 28, 10, tzinfo=datetime.timezone.utc),
    ),
    (
        Annotated[int, Field(minimum=1, maximum=9, header="N"), "how many"],
        {"type": "integer", "minimum": 1, "maximum": 9, "x-mcp-header": "N", "description": "how many"},
        5,
        5,
    ),
    (Annotated[str, pydantic.Field(min_length=2)], {"type": "string", "minLength": 2}, "ab", "ab"),
    (
        Book,
        {
            "type": "object",
            "properties": {"title": {"type": "string"}, "pages": {"type": "integer"}},
            "additionalProperties": False,
            "required": ["title"],
        },
        {"title": "x"},
        {"title": "x"},
    ),
    (
        Point,
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
            "additionalProperties": False,
            "required": ["x"],
        },
        {"x": 1},
        Point(1, 0),
    ),
]


@pytest.mark.parametrize("hint, schema, data, value", SHAPES, ids=lambda item: str(item)[:30])
def test_a_type_has_a_schema_and_loads(hint: Any, schema: dict[str, Any], data: Any, value: Any) -> None:
    shape = Builder().named(hint, "here")
    assert shape.schema == schema
    assert shape.fits(data)
    loaded = data if shape.load is None else shape.load(data)
    assert loaded == value
    assert type(loaded) is type(value)


def test_a_dataclass_that_holds_itself_becomes_a_definition() -> None:
    def tool(node: Node) -> None: ...

    found = signature(tool, "tool 'tool'")
    assert found.input["properties"]["node"] == {"$ref": "#/$defs/Node"}
    definition = found.input["$defs"]["Node"]
    assert definition["description"] == "A node of a tree."
    assert definition["properties"]["name"] == {"type": "string", "description": "what it is called"}
    assert definition["properties"]["kids"]["items"] == {"$ref": "#/$defs/Node"}
    assert found.loads["node"]({"name": "a", "kids": [{"name": "b"}]}) == Node("a", [Node("b")])


def test_a_typed_dict_knows_what_is_required() -> None:
    schema = Builder().named(Movie, "here").schema
    assert schema["required"] == ["title"]
    assert set(schema["properties"]) == {"title", "year"}


def test_a_pydantic_model_is_honoured() -> None:
    def tool(person: Person) -> Person:
        return person

    found = signature(tool, "tool 'tool'")
    assert "$defs" in found.input
    loaded = found.loads["person"]({"name": "a", "friends": [{"name": "b"}]})
    assert loaded == Person(name="a", friends=[Person(name="b")])
    with pytest.raises(Misfit) as caught:
        found.loads["person"]({"name": "a", "friends": [{"name": 12345}]})
    assert caught.value.path == "friends/0/name"
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize(
    "doc",
    [
        "Do it.\n\nArgs:\n    first (str): the first\n        of them\n    second: the second\n\nReturns:\n    nothing",
        "Do it.\n\nParameters\n----------\nfirst : str\n    the first\n    of them\nsecond\n    the second\n",
        "Do it.\n\n:param str first: the first\n    of them\n:param second: the second\n:returns: nothing",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_docstrings_of_three_styles(doc: str) -> None:
    found = docstrings.parse(doc)
    assert found.description == "Do it."
    assert found.parameters == {"first": "the first of them", "second": "the second"}


def test_a_signature_becomes_a_closed_object() -> None:
    def tool(a: int, b: str | None = None, *, c: Color = Color.RED, ctx: Context | None = None) -> str:
        """Do it.

        Args:
            a: the a
            b: the b
        """
        return f"{a}{b}{c}{ctx}"

    found = signature(tool, "tool 'tool'")
    assert found.context == "ctx"
    assert found.description == "Do it."
    assert found.output is None
    assert found.input == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "the a"},
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "description": "the b"},
            "c": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        },
        "additionalProperties": False,
        "required": ["a"],
    }


def test_a_default_of_none_makes_it_optional() -> None:
    def tool(n: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013 - that is the test

    schema = signature(tool, "tool 'tool'").input["properties"]["n"]
    assert schema == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}


def test_return_types_become_output_schemas() -> None:
    def number() -> int:
        return 1

    def record() -> Book:
        return {"title": "x"}

    def text() -> str:
        return ""

    assert signature(number, "t").output == {
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["result"],
    }
    assert signature(number, "t").wrap
    found = signature(record, "t")
    assert not found.wrap
    assert found.output is not None
    assert set(found.output["properties"]) == {"title", "pages"}
    assert signature(text, "t").output is None


class Plain:
    pass


def test_what_has_no_schema_is_refused_by_name() -> None:
    def tool(thing: Plain) -> None: ...
    def keys(table: dict[int, str]) -> None: ...
    def many(*rest: int) -> None: ...
    def lost(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - that is the test

    with pytest.raises(ConfigError, match="tool 'tool': parameter 'thing': the type Plain has no JSON Schema"):
        signature(tool, "tool 'tool'")
    with pytest.raises(ConfigError, match=r"parameter 'table'.*keys that are not strings"):
        signature(keys, "tool 'keys'")
    with pytest.raises(ConfigError, match=r"parameter 'rest': \*args"):
        signature(many, "tool 'many'")
    with pytest.raises(ConfigError, match="tool 'lost': an annotation names 'Nowhere'"):
        signature(lost, "tool 'lost'")


def test_a_misfit_names_the_path_and_never_the_value() -> None:
    def tool(when: list[datetime.date]) -> None: ...

    load = signature(tool, "t").loads["when"]
    with pytest.raises(Misfit) as caught:
        load(["2026-01-01", "hunter2"])
    assert caught.value.path == "1"
    assert "hunter2" not in str(caught.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_json_dumps_to_itself(value: Any) -> None:
    assert dump(value) == value


@given(st.integers() | st.floats(allow_nan=False) | st.text() | st.none() | st.booleans())
def test_a_shape_never_loads_what_does_not_fit(value: Any) -> None:
    for hint in (int, float, bool, datetime.date, uuid.UUID, Color, Decimal, bytes):
        shape = Builder().named(hint, "here")
        if shape.fits(value) and shape.load is not None:
            shape.load(value)
