"""Signature and docstring to input and output schema, and JSON data back into the types that were declared.

Owns :class:`Field`, :class:`Shape` and :func:`signature`. The idea: each annotation becomes one `Shape`: how it looks
as JSON Schema 2020-12, whether a value fits, and how validated JSON is loaded into it.
Must not: validate; the core does, always, before anything here sees a value.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from . import docstrings
from .content import BLOCKS, JSON, Contents, Message, PromptResult, ToolResult
from .exceptions import ConfigError
from .results import Unserialisable, dump
from .scalars import SCALARS, Misfit

_MISSING: Final = inspect.Parameter.empty
Load = Callable[[Any], Any]


class Shape(NamedTuple):
    """One annotation, understood. `load` is None when validated JSON is already the value."""

    schema: JSON
    fits: Callable[[Any], bool]
    load: Load | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """More about a parameter or field: ``Annotated[int, Field(minimum=1, description="how many")]``.

    ``header="Region"`` mirrors the argument into the ``Mcp-Param-Region`` request header.
    """

    description: str | None = None
    title: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    pattern: str | None = None
    format: str | None = None
    examples: list[Any] | None = None
    deprecated: bool | None = None
    header: str | None = None
    schema: Mapping[str, Any] | None = None

    def keywords(self) -> JSON:
        """Return the schema keywords."""
        found = {word: getattr(self, name) for name, word in _KEYWORDS.items() if getattr(self, name) is not None}
        return {**found, **(self.schema or {})}


_KEYWORDS: Final = {
    "description": "description",
    "title": "title",
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "pattern": "pattern",
    "format": "format",
    "examples": "examples",
    "deprecated": "deprecated",
    "header": "x-mcp-header",
}
# what annotated-types and pydantic call the same things
_FOREIGN: Final = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
    "description": "description",
    "title": "title",
}


@dataclasses.dataclass
class Signature:
    """A function's parameters and result, understood."""

    input: JSON
    output: JSON | None
    loads: dict[str, Load]
    wrap: bool
    description: str | None
    parameters: dict[str, Shape]
    context: str | None
    positional: list[str]
    required: list[str]


class Unsupported(Exception):
    """An annotation that has no schema."""


def signature(function: Callable[..., Any], owner: str, names: Mapping[str, Any] | None = None) -> Signature:
    """Read a function. `owner` names it in errors (``tool 'add'``); `names` helps to resolve string annotations."""
    target = _plain(function)
    hints = _hints(target, owner, names)
    docs = docstrings.parse(inspect.getdoc(target))
    builder = Builder(names)
    shapes: dict[str, Shape] = {}
    required: list[str] = []
    positional: list[str] = []
    context: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            message = f"{owner}: parameter {name!r}: *args and **kwargs cannot be described; name the parameters"
            raise ConfigError(message)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(name)
        hint = hints.get(name, Any)
        if is_context(hint):
            context = name
            continue
        shape = builder.named(hint, f"{owner}: parameter {name!r}")
        schema = dict(shape.schema)
        if "description" not in schema and docs.parameters.get(name):
            schema["description"] = docs.parameters[name]
        if parameter.default is _MISSING:
            required.append(name)
        else:
            shape, schema = _with_default(shape, schema, parameter.default)
        shapes[name] = shape._replace(schema=schema)
    output, wrap = _output(builder, hints.get("return", _MISSING), owner)
    return Signature(
        input=builder.closed({name: shape.schema for name, shape in shapes.items()}, required),
        output=output,
        loads={name: shape.load for name, shape in shapes.items() if shape.load is not None},
        wrap=wrap,
        description=docs.description,
        parameters=shapes,
        context=context,
        positional=positional,
        required=required,
    )


def is_context(hint: Any) -> bool:
    """Tell whether an annotation asks for the hidden context parameter."""
    from .context import Context  # noqa: PLC0415 - only loaded with a server

    return any(
        isinstance(kind, type) and issubclass(kind, Context)
        for kind in (hint, *typing.get_args(hint))
        if not isinstance(kind, types.GenericAlias)
    )


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    target: Any = inspect.unwrap(function)
    while hasattr(target, "func") and hasattr(target, "keywords"):  # functools.partial
        target = target.func
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = type(target).__call__
    found: Callable[..., Any] = target
    return found


def _hints(target: Callable[..., Any], owner: str, names: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target, localns=dict(names) if names else None, include_extras=True)
    except NameError as error:
        message = f"{owner}: an annotation names {error.name!r}, which cannot be found where the function is defined"
        raise ConfigError(message) from error
    except TypeError as error:
        message = f"{owner}: an annotation cannot be evaluated"
        raise ConfigError(message) from error


def _with_default(shape: Shape, schema: JSON, default: Any) -> tuple[Shape, JSON]:
    if default is None and not shape.fits(None):
        inner: JSON = dict(schema)
        words: JSON = {}
        for word in ("description", "title", "x-mcp-header", "deprecated"):
            if word in inner:
                words[word] = inner.pop(word)
        optional = _union([shape._replace(schema=inner), Shape(*SCALARS[type(None)])])
        return optional, {**optional.schema, **words, "default": None}
    try:
        return shape, {**schema, "default": dump(default)}
    except Unserialisable:
        return shape, schema


_BARE: Final = (str, type(None), Any, object, _MISSING, None, bytes, inspect.Signature.empty)
_WIRE: Final = (*BLOCKS, ToolResult, Contents, Message, PromptResult)


def _output(builder: Builder, hint: Any, owner: str) -> tuple[JSON | None, bool]:
    """Return the output schema, and whether the value is wrapped as ``{"result": value}``."""
    if hint in _BARE or _says_content(hint):
        return None, False
    shape = builder.named(hint, f"{owner}: return value")
    if shape.schema.get("type") == "object" or "$ref" in shape.schema:
        return builder.rooted(shape.schema), False
    return builder.closed({"result": shape.schema}, ["result"]), True


def _says_content(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, _WIRE):
        return True
    return any(_says_content(inner) or inner is Any for inner in typing.get_args(hint) if inner is not hint) and (
        typing.get_origin(hint) is not dict
    )


def _union(shapes: list[Shape]) -> Shape:
    def fits(value: Any) -> bool:
        return any(shape.fits(value) for shape in shapes)

    def load(value: Any) -> Any:
        for shape in shapes:
            if shape.fits(value):
                return value if shape.load is None else shape.load(value)
        message = "one of the types that were declared"
        raise Misfit(message)

    plain = all(shape.load is None for shape in shapes)
    if len(shapes) == 1:
        return shapes[0]
    return Shape({"anyOf": [shape.schema for shape in shapes]}, fits, None if plain else load)


class Builder:
    """Annotations to shapes, sharing one ``$defs``."""

    def __init__(self, names: Mapping[str, Any] | None = None) -> None:
        """Start with no definitions."""
        self.names = dict(names) if names else None
        self.defs: JSON = {}
        self.open: dict[Any, str] = {}
        self.recursive: set[Any] = set()
        self.shapes: dict[Any, Shape] = {}

    def named(self, hint: Any, place: str) -> Shape:
        """Return the shape of an annotation; `place` is named when there is none."""
        try:
            return self.shape(hint)
        except Unsupported as error:
            message = f"{place}: the type {error} has no JSON Schema; use built-in types, dataclasses or TypedDict"
            raise ConfigError(message) from error
        except Unserialisable as error:
            message = f"{place}: a Literal or Enum holds {error}, which JSON cannot say"
            raise ConfigError(message) from error

    def closed(self, properties: JSON, required: list[str]) -> JSON:
        """Return an object schema that refuses unknown properties, with its definitions."""
        return self.rooted(_object(properties, required))

    def rooted(self, schema: JSON) -> JSON:
        """Return a schema together with the definitions it may refer to."""
        return {**schema, "$defs": dict(self.defs)} if self.defs and _refers(schema) else dict(schema)

    def shape(self, hint: Any) -> Shape:  # noqa: C901, PLR0911, PLR0912 - a table of forms
        """Return the shape of an annotation."""
        if hint is None:
            hint = type(None)
        try:
            if hint in SCALARS:
                return Shape(*SCALARS[hint])
        except TypeError as error:  # not hashable, so no type
            raise Unsupported(_name(hint)) from error
        if hint in (Any, object, _MISSING):
            return Shape({}, lambda _value: True)
        origin = typing.get_origin(hint)
        arguments = typing.get_args(hint)
        if origin is typing.Annotated:
            return self._annotated(arguments[0], hint.__metadata__)
        if origin is typing.Literal:
            return self._literal(arguments)
        if origin is typing.Union or origin is types.UnionType:
            return _union([self.shape(inner) for inner in arguments])
        if str(origin).rpartition(".")[2] in ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar"):
            return self.shape(arguments[0])
        if hasattr(hint, "__supertype__"):  # NewType
            return self.shape(hint.__supertype__)
        if type(hint).__name__ == "TypeAliasType":
            return self.shape(hint.__value__)
        if isinstance(hint, typing.TypeVar):
            return self.shape(hint.__bound__ if hint.__bound__ is not None else Any)
        if origin is not None and (found := self._container(origin, arguments)) is not None:
            return found
        if isinstance(hint, type) and (found := self._container(hint, ())) is not None:
            return found
        return self._class(hint)

    def _annotated(self, inner: Any, metadata: tuple[Any, ...]) -> Shape:
        shape = self.shape(inner)
        words: JSON = {}
        for item in metadata:
            if isinstance(item, str):
                words["description"] = item
            elif isinstance(item, Field):
                words.update(item.keywords())
            else:
                words.update(_foreign(item, shape.schema))
        return shape._replace(schema={**shape.schema, **words}) if words else shape

    @staticmethod
    def _literal(values: tuple[Any, ...]) -> Shape:
        data = {_hashable(dump(value)): value for value in values}
        plain = all(type(value) in (str, int, bool, type(None)) for value in values)
        return Shape(
            _enum([dump(value) for value in values]),
            lambda value: _hashable(value) in data,
            None if plain else lambda value: data[_hashable(value)],
        )

    def _container(self, origin: Any, arguments: tuple[Any, ...]) -> Shape | None:
        if origin is tuple and arguments and arguments[-1] is not ...:
            return self._tuple(() if arguments == ((),) else arguments)
        for kinds, make in _SEQUENCES:
            if origin in kinds:
                inner = self.shape(arguments[0]) if arguments else Shape({}, lambda _value: True)
                return _sequence(inner, make)
        if origin in _MAPPINGS:
            return self._mapping(arguments)
        return None

    def _tuple(self, arguments: tuple[Any, ...]) -> Shape:
        shapes = [self.shape(inner) for inner in arguments]
        count = len(shapes)
        schema: JSON = {"type": "array", "minItems": count, "maxItems": count}
        if shapes:
            schema["prefixItems"] = [shape.schema for shape in shapes]
            schema["items"] = False

        def fits(value: Any) -> bool:
            return (
                isinstance(value, list)
                and len(value) == count
                and all(shape.fits(item) for shape, item in zip(shapes, value, strict=True))
            )

        def load(value: Any) -> Any:
            return tuple(
                _inside(index, item, shape.load) for index, (shape, item) in enumerate(zip(shapes, value, strict=True))
            )

        return Shape(schema, fits, load)

    def _mapping(self, arguments: tuple[Any, ...]) -> Shape:
        key = self.shape(arguments[0]) if arguments else Shape(*SCALARS[str])
        inner = self.shape(arguments[1]) if arguments else Shape({}, lambda _value: True)
        if key.schema.get("type") != "string":
            message = "dict with keys that are not strings"
            raise Unsupported(message)
        schema: JSON = {"type": "object"}
        if inner.schema:
            schema["additionalProperties"] = inner.schema
        if set(key.schema) != {"type"}:
            schema["propertyNames"] = key.schema

        def fits(value: Any) -> bool:
            return isinstance(value, dict) and all(key.fits(k) and inner.fits(v) for k, v in value.items())

        def load(value: Any) -> Any:
            return {
                (name if key.load is None else key.load(name)): _inside("*", item, inner.load)
                for name, item in value.items()
            }

        return Shape(schema, fits, None if key.load is None and inner.load is None else load)

    def _class(self, hint: Any) -> Shape:
        origin = typing.get_origin(hint) or hint
        if not isinstance(origin, type):
            raise Unsupported(_name(hint))
        if hasattr(origin, "model_json_schema") and hasattr(origin, "model_validate"):
            return self._pydantic(hint)
        if _is_enum(origin):
            return _enumeration(origin)
        if dataclasses.is_dataclass(origin):
            return self._record(hint, origin, self._dataclass_fields, load=True)
        if typing.is_typeddict(origin) or hasattr(origin, "__total__"):
            return self._record(hint, origin, self._typeddict_fields, load=False)
        if issubclass(origin, tuple) and hasattr(origin, "_fields"):
            return self._record(hint, origin, self._namedtuple_fields, load=True)
        raise Unsupported(_name(hint))

    def _record(self, hint: Any, origin: Any, fields: Callable[[Any], dict[str, _Member]], *, load: bool) -> Shape:
        """Return the shape of a class with named fields; it goes to ``$defs`` only when it holds itself."""
        if hint in self.open:
            self.recursive.add(hint)
            return Shape(
                {"$ref": f"#/$defs/{self.open[hint]}"},
                lambda value: bool(self.shapes[hint].fits(value)),
                lambda value: _load(value, self.shapes[hint].load),
            )
        if hint in self.shapes:
            return self.shapes[hint]
        self.open[hint] = self._free_name(origin.__name__)
        try:
            members = fields(hint)
        finally:
            name = self.open.pop(hint)
        shape = _members(members, origin if load else None)
        docs = inspect.cleandoc(origin.__doc__ or "")
        if docs and not docs.startswith((f"{origin.__name__}(", "dict(")):
            described = docstrings.parse(docs).description
            shape = shape._replace(schema={**shape.schema, **({"description": described} if described else {})})
        if hint in self.recursive:
            self.defs[name] = shape.schema
            shape = shape._replace(schema={"$ref": f"#/$defs/{name}"})
        self.shapes[hint] = shape
        return shape

    def _free_name(self, name: str) -> str:
        taken = {*self.defs, *self.open.values()}
        return next(
            candidate
            for candidate in (name, *(f"{name}{number}" for number in range(2, 10_000)))
            if candidate not in taken
        )

    def _resolve(self, origin: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(origin, localns=self.names, include_extras=True)
        except (NameError, TypeError) as error:
            message = f"{origin.__name__} (an annotation in it cannot be resolved)"
            raise Unsupported(message) from error

    def _dataclass_fields(self, hint: Any) -> dict[str, _Member]:
        origin = typing.get_origin(hint) or hint
        hints = self._resolve(origin)
        docs = docstrings.parse(inspect.getdoc(origin)).parameters
        members = {}
        for field in dataclasses.fields(origin):
            if not field.init:
                continue
            default: Any = _MISSING
            if field.default is not dataclasses.MISSING:
                default = field.default
            elif field.default_factory is not dataclasses.MISSING:
                default = _FACTORY
            shape = self.shape(hints[field.name])
            described = field.metadata.get("description") or docs.get(field.name)
            members[field.name] = _Member(shape, default, described)
        return members

    def _typeddict_fields(self, hint: Any) -> dict[str, _Member]:
        origin = typing.get_origin(hint) or hint
        docs = docstrings.parse(inspect.getdoc(origin)).parameters
        members = {}
        for name, inner in self._resolve(origin).items():
            optional = name in getattr(origin, "__optional_keys__", ())
            marker = str(typing.get_origin(inner)).rpartition(".")[2]
            if marker in ("Required", "NotRequired"):
                optional = marker == "NotRequired"
            members[name] = _Member(self.shape(inner), _FACTORY if optional else _MISSING, docs.get(name))
        return members

    def _namedtuple_fields(self, hint: Any) -> dict[str, _Member]:
        origin = typing.get_origin(hint) or hint
        hints = self._resolve(origin)
        defaults = origin._field_defaults
        return {
            name: _Member(self.shape(hints.get(name, Any)), defaults.get(name, _MISSING), None)
            for name in origin._fields
        }

    def _pydantic(self, model: Any) -> Shape:
        """Honour a pydantic model by its own methods; pydantic itself is never imported here."""
        schema = dict(model.model_json_schema())
        names = {name: self._free_name(name) for name in schema.get("$defs", {})}
        renamed = _rename(schema, names)
        self.defs.update({names[name]: inner for name, inner in renamed.pop("$defs", {}).items()})

        def load(value: Any) -> Any:
            try:
                return model.model_validate(value)
            except ValueError as error:
                places: Any = getattr(error, "errors", list)()
                path = "/".join(str(part) for part in places[0].get("loc", ())) if places else ""
                message = "a value the model accepts"
                raise Misfit(message, path) from None

        def fits(value: Any) -> bool:
            try:
                model.model_validate(value)
            except ValueError:
                return False
            return True

        return Shape(renamed, fits, load)


class _Member(NamedTuple):
    shape: Shape
    default: Any
    description: str | None


_FACTORY: Final = object()


def _members(members: dict[str, _Member], make: Any) -> Shape:
    properties: JSON = {}
    for name, member in members.items():
        schema = dict(member.shape.schema)
        if member.description and "description" not in schema:
            schema["description"] = member.description
        if member.default is not _MISSING and member.default is not _FACTORY:
            try:
                schema["default"] = dump(member.default)
            except Unserialisable:
                schema.pop("default", None)
        properties[name] = schema
    required = [name for name, member in members.items() if member.default is _MISSING]
    loads = {name: member.shape.load for name, member in members.items() if member.shape.load is not None}

    def fits(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(name in value for name in required)
            and all(name in members and members[name].shape.fits(item) for name, item in value.items())
        )

    def load(value: Any) -> Any:
        data = {name: _inside(name, item, loads.get(name)) for name, item in value.items()}
        if make is None:
            return data
        try:
            return make(**data)
        except (TypeError, ValueError):
            message = f"what {make.__name__} accepts"
            raise Misfit(message) from None

    return Shape(_object(properties, required), fits, load if make is not None or loads else None)


def _object(properties: JSON, required: list[str]) -> JSON:
    schema: JSON = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return schema


def _load(value: Any, load: Load | None) -> Any:
    return value if load is None else load(value)


def _inside(key: object, value: Any, load: Load | None) -> Any:
    if load is None:
        return value
    try:
        return load(value)
    except Misfit as error:
        raise error.within(str(key)) from None


def _sequence(inner: Shape, make: Callable[[Any], Any] | None) -> Shape:
    schema: JSON = {"type": "array"}
    if inner.schema:
        schema["items"] = inner.schema
    if make in (set, frozenset):
        schema["uniqueItems"] = True

    def fits(value: Any) -> bool:
        return isinstance(value, list) and all(inner.fits(item) for item in value)

    def load(value: Any) -> Any:
        items = [_inside(index, item, inner.load) for index, item in enumerate(value)]
        return items if make is None else make(items)

    return Shape(schema, fits, None if make is None and inner.load is None else load)


_SEQUENCES: Final[tuple[tuple[tuple[Any, ...], Callable[[Any], Any] | None], ...]] = (
    (
        (
            list,
            collections.abc.Sequence,
            collections.abc.MutableSequence,
            collections.abc.Iterable,
            collections.abc.Collection,
        ),
        None,
    ),
    ((tuple,), tuple),
    ((set, collections.abc.Set, collections.abc.MutableSet), set),
    ((frozenset,), frozenset),
)
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _enum(values: list[Any]) -> JSON:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    kinds = {names.get(type(value)) for value in values}
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    return {"type": kind, "enum": values} if kind else {"enum": values}


def _is_enum(kind: type) -> bool:
    return any(f"{base.__module__}.{base.__name__}" == "enum.Enum" for base in kind.__mro__)


def _enumeration(kind: Any) -> Shape:
    members = list(kind)
    data = {_hashable(dump(member.value)): member for member in members}
    schema = _enum([dump(member.value) for member in members])
    return Shape(schema, lambda value: _hashable(value) in data, lambda value: data[_hashable(value)])


def _hashable(value: Any) -> Any:
    return (type(value), value) if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _foreign(item: Any, schema: JSON) -> JSON:
    """Read annotated-types and pydantic metadata by its attributes."""
    words = {word: getattr(item, name) for name, word in _FOREIGN.items() if getattr(item, name, None) is not None}
    array = schema.get("type") == "array"
    for name, word in (
        ("min_length", "minItems" if array else "minLength"),
        ("max_length", "maxItems" if array else "maxLength"),
    ):
        if getattr(item, name, None) is not None:
            words[word] = getattr(item, name)
    inner = getattr(item, "metadata", None)
    for other in inner if isinstance(inner, list) else []:
        words.update(_foreign(other, schema))
    return {word: value for word, value in words.items() if isinstance(value, (str, int, float))}


def _rename(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, dict):
        found = {key: _rename(value, names) for key, value in schema.items()}
        reference = found.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            found["$ref"] = f"#/$defs/{names.get(reference[8:], reference[8:])}"
        return found
    return [_rename(item, names) for item in schema] if isinstance(schema, list) else schema


def _refers(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "$ref" in schema or any(_refers(item) for item in schema.values())
    return isinstance(schema, list) and any(_refers(item) for item in schema)


def _name(hint: Any) -> str:
    return getattr(hint, "__qualname__", None) or str(hint)
