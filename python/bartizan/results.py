"""Python values as JSON data, and return values as results.

Owns `dump` and the three `*_result` functions. The idea: what cannot be said in JSON raises, and nothing is guessed.
Must not: know how a result travels.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .content import BLOCKS, JSON, Contents, Message, PromptResult, Text, ToolResult, block

DEPTH: Final = 64
_PLAIN = (str, int, bool, type(None))


class Unserialisable(TypeError):
    """A value that JSON cannot say."""


def dump(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON data."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > DEPTH:
        message = f"nested more than {DEPTH} levels deep, or within itself"
        raise Unserialisable(message)
    if kind is float:
        if not math.isfinite(value):
            message = "not a finite number"
            raise Unserialisable(message)
        return value
    if kind is dict or isinstance(value, Mapping):
        return {_key(key): dump(item, depth + 1) for key, item in value.items()}
    if kind is list:
        return [dump(item, depth + 1) for item in value]
    return _dump_other(value, depth)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    value = dump(key, DEPTH)
    if isinstance(value, (str, int)):
        return str(value)
    message = f"a key of type {type(key).__name__}"
    raise Unserialisable(message)


def _dump_other(value: Any, depth: int) -> Any:  # noqa: PLR0911, C901 - a table of types
    kind = type(value)
    if hasattr(kind, "model_dump") and hasattr(kind, "model_validate"):  # pydantic, without importing it
        return dump(value.model_dump(mode="json", by_alias=True), depth + 1)
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        return {name: dump(getattr(value, name), depth + 1) for name in fields if hasattr(value, name)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dump(value._asdict(), depth + 1)
    if isinstance(value, (list, tuple, set, frozenset)):
        items: Iterable[Any] = value
        if isinstance(value, (set, frozenset)):
            items = sorted(value, key=lambda item: (type(item).__name__, str(item)))
        return [dump(item, depth + 1) for item in items]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64encode(bytes(value)).decode("ascii")
    for name, convert in _NAMED.items():
        if any(f"{base.__module__}.{base.__qualname__}" == name for base in kind.__mro__):
            return dump(convert(value), depth + 1)
    for base in (str, int, float):  # their subclasses
        if isinstance(value, base):
            return dump(base(value), depth)
    message = f"a value of type {kind.__module__}.{kind.__qualname__}"
    raise Unserialisable(message)


# by name, so that none of these modules is imported for it
_NAMED: Final[dict[str, Callable[[Any], Any]]] = {
    "enum.Enum": lambda value: value.value,
    "datetime.datetime": lambda value: value.isoformat(),
    "datetime.date": lambda value: value.isoformat(),
    "datetime.time": lambda value: value.isoformat(),
    "datetime.timedelta": lambda value: value.total_seconds(),
    "uuid.UUID": str,
    "decimal.Decimal": str,
    "pathlib.PurePath": str,
    "collections.deque": list,
}


def tool_result(value: Any, output: Callable[[Any], Any] | None) -> str | JSON:
    """Return what a tool returned as a result: a bare string stays one (the quick way), the rest is spelled out.

    `output` turns dumped data into structured content; None when the tool has no output schema.
    """
    if type(value) is str and output is None:
        return value
    if isinstance(value, ToolResult):
        return _explicit(value)
    if isinstance(value, BLOCKS):
        return {"content": [_block(value)]}
    if isinstance(value, (list, tuple)) and any(isinstance(item, BLOCKS) for item in value):
        return {"content": [_block(item) for item in value]}
    if output is None:
        return {"content": [] if value is None else [_block(value)]}
    data = output(dump(value))
    return {"content": [Text(text(data)).wire()], "structuredContent": data}


def _explicit(value: ToolResult) -> JSON:
    content: Any = value.content
    items = (content,) if isinstance(content, (str, *BLOCKS)) else content
    result: JSON = {"content": [_block(item) for item in items], "isError": value.is_error}
    if value.structured is not None:
        result["structuredContent"] = dump(value.structured)
        if not result["content"]:
            result["content"] = [Text(text(result["structuredContent"])).wire()]
    if value.meta is not None:
        result["_meta"] = dump(value.meta)
    return result


def _block(value: Any) -> JSON:
    if isinstance(value, BLOCKS):
        return block(value).wire()  # type: ignore[arg-type]
    if isinstance(value, (bytes, bytearray)):
        content = Contents(bytes(value), "application/octet-stream")
        return {"type": "resource", "resource": content.wire("data:application/octet-stream")}
    return Text(value if isinstance(value, str) else text(dump(value))).wire()


def text(data: Any) -> str:
    """Return JSON data as text."""
    import json  # noqa: PLC0415 - not every server needs it

    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def resource_result(value: Any, uri: str, mime_type: str | None) -> JSON:
    """Return what a resource function returned as contents."""
    items = value if isinstance(value, (list, tuple)) and all(isinstance(v, Contents) for v in value) else [value]
    contents = []
    for item in items:
        if isinstance(item, Contents):
            contents.append(item.wire(uri, mime_type))
        elif isinstance(item, (bytes, bytearray, memoryview)):
            contents.append(Contents(bytes(item)).wire(uri, mime_type or "application/octet-stream"))
        elif isinstance(item, str):
            contents.append(Contents(item).wire(uri, mime_type or "text/plain"))
        else:
            contents.append(Contents(text(dump(item))).wire(uri, mime_type or "application/json"))
    return {"contents": contents}


def prompt_result(value: Any, description: str | None) -> JSON:
    """Return what a prompt function returned as messages."""
    if isinstance(value, PromptResult):
        description = value.description or description
        value = list(value.messages)
    items = value if isinstance(value, (list, tuple)) else [value]
    messages = [item if isinstance(item, Message) else Message(_prompt_content(item)) for item in items]
    result: JSON = {"messages": [message.wire() for message in messages]}
    if description:
        result["description"] = description
    return result


def _prompt_content(value: Any) -> Any:
    return value if isinstance(value, (str, *BLOCKS)) else text(dump(value))


def completion_result(value: Any) -> JSON:
    """Return suggestions: at most 100, best first."""
    values = [str(dump(item)) for item in (value or [])]
    return {"values": values[:100], "total": len(values), "hasMore": len(values) > 100}  # noqa: PLR2004 - the protocol's
