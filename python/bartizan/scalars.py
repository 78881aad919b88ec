"""Single values: each built-in type as JSON Schema, and how JSON is loaded into it.

Owns the table `SCALARS` and :class:`Misfit`. The idea: a row is a schema, a test, and a loader (None: nothing to do).
Must not: repeat a value in an error.
"""

from __future__ import annotations

import datetime
import math
import pathlib
import uuid
from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from .content import JSON

Row = tuple[JSON, Callable[[Any], bool], "Callable[[Any], Any] | None"]


class Misfit(ValueError):
    """Validated JSON that still is not the declared type, such as a date that is none."""

    def __init__(self, expected: str, path: str = "") -> None:
        """Say what is expected, and where."""
        super().__init__(expected)
        self.expected = expected
        self.path = path

    def within(self, key: str) -> Misfit:
        """Return the same, one level further out."""
        return Misfit(self.expected, f"{key}/{self.path}" if self.path else key)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_int(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _int(value: Any) -> int:
    return value if type(value) is int else int(value)


def _loads(expected: str, load: Callable[[Any], Any]) -> tuple[Callable[[Any], bool], Callable[[Any], Any]]:
    def attempt(value: Any) -> Any:
        try:
            return load(value)
        except (ValueError, TypeError, ArithmeticError):
            raise Misfit(expected) from None

    def fits(value: Any) -> bool:
        try:
            attempt(value)
        except Misfit:
            return False
        return True

    return fits, attempt


def _datetime(value: str) -> datetime.datetime:
    if "T" not in value.upper().replace(" ", "T"):
        raise ValueError
    return datetime.datetime.fromisoformat(_zulu(value))


def _zulu(value: str) -> str:
    return f"{value[:-1]}+00:00" if value[-1:] in "zZ" and value else value


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise TypeError
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError
    return number


def _seconds(value: Any) -> datetime.timedelta:
    if not _is_number(value) or not math.isfinite(value):
        raise TypeError
    return datetime.timedelta(seconds=value)


def _path(value: Any) -> pathlib.Path:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return pathlib.Path(value)


def _text(load: Callable[[str], Any]) -> Callable[[Any], Any]:
    def attempt(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError
        return load(value)

    return attempt


SCALARS: Final[dict[Any, Row]] = {
    str: ({"type": "string"}, _is_str, None),
    int: ({"type": "integer"}, _is_int, _int),
    float: ({"type": "number"}, _is_number, float),
    bool: ({"type": "boolean"}, lambda value: isinstance(value, bool), None),
    type(None): ({"type": "null"}, lambda value: value is None, None),
    bytes: (
        {"type": "string", "contentEncoding": "base64"},
        *_loads("base64 text", _text(lambda value: b64decode(value, validate=True))),
    ),
    datetime.datetime: (
        {"type": "string", "format": "date-time"},
        *_loads("a date and time", _text(_datetime)),
    ),
    datetime.date: (
        {"type": "string", "format": "date"},
        *_loads("a date", _text(datetime.date.fromisoformat)),
    ),
    datetime.time: (
        {"type": "string", "format": "time"},
        *_loads("a time of day", _text(lambda value: datetime.time.fromisoformat(_zulu(value)))),
    ),
    datetime.timedelta: (
        {"type": "number", "description": "seconds"},
        *_loads("a number of seconds", _seconds),
    ),
    uuid.UUID: ({"type": "string", "format": "uuid"}, *_loads("a UUID", _text(uuid.UUID))),
    Decimal: ({"type": ["string", "number"]}, *_loads("a decimal number", _decimal)),
    pathlib.Path: ({"type": "string", "format": "path"}, *_loads("a path", _path)),
    pathlib.PurePath: ({"type": "string", "format": "path"}, *_loads("a path", _path)),
}
