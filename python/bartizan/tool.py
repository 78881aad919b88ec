"""What the decorators record, and how a record becomes something the core can run.

Owns :class:`ToolRecord` and its siblings, and :class:`Entry`. The idea: a decorator only takes notes; one loop turns
the notes into entries when the server starts, and that is where a wrong signature is reported.
Must not: run anything by itself.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from . import results
from .content import JSON, Icon, icons
from .context import Context
from .exceptions import ConfigError, InvalidArguments
from .scalars import Misfit
from .schema import Shape, Signature, signature

if TYPE_CHECKING:
    from .hosting import Host

Effect = Literal["read", "write", "destroy"]
Function = Callable[..., Any]
EFFECTS = ("read", "write", "destroy")


@dataclasses.dataclass(frozen=True)
class Details:
    """What tools, resources and prompts have in common."""

    name: str | None = None
    title: str | None = None
    description: str | None = None
    effect: Effect = "write"
    toolset: str = "default"
    timeout: float | None = None
    scopes: Sequence[str] = ()
    annotations: Mapping[str, Any] | None = None
    icons: Sequence[Icon | str] = ()
    meta: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """How calls of a tool become tasks: they outlive their request, and the client looks at them until they end.

    ``required`` refuses clients that do not support tasks; else those wait for the result. With ``asks_first`` the
    tool says itself when: it asks what it has to ask, then calls ``ctx.start_task()``, and works.
    """

    required: bool = False
    asks_first: bool = False


@dataclasses.dataclass(frozen=True)
class ToolRecord:
    """A function that was decorated with ``@server.tool``."""

    function: Function
    details: Details
    output_schema: Mapping[str, Any] | Literal[False] | None = None
    input_schema: Mapping[str, Any] | None = None
    redact: Sequence[str] = ()
    names: Mapping[str, Any] | None = None
    task: bool | Task = False

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.details.name or called(self.function)


@dataclasses.dataclass(frozen=True)
class ResourceRecord:
    """A function that was decorated with ``@server.resource``."""

    function: Function
    details: Details
    uri: str
    mime_type: str | None = None
    size: int | None = None
    names: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.details.name or called(self.function)


@dataclasses.dataclass(frozen=True)
class PromptRecord:
    """A function that was decorated with ``@server.prompt``."""

    function: Function
    details: Details
    names: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The prompt's name."""
        return self.details.name or called(self.function)


@dataclasses.dataclass(frozen=True)
class CompletionRecord:
    """A function that was decorated with ``@server.completion``."""

    function: Function
    target: str
    argument: str


Record = ToolRecord | ResourceRecord | PromptRecord


@dataclasses.dataclass
class Entry:
    """Something the core can list and run."""

    spec: JSON
    call: Callable[..., Any]
    is_async: bool
    wants_context: bool
    complete: Callable[..., Any] | None = None
    complete_is_async: bool = False


def called(function: Function) -> str:
    """Return the name a function goes by."""
    return getattr(function, "__name__", None) or type(function).__name__


def is_async(function: Function) -> bool:
    """Tell whether calling the function makes a coroutine."""
    target = inspect.unwrap(function)
    while hasattr(target, "func") and hasattr(target, "keywords"):
        target = target.func
    by_class: Any = type(target).__dict__.get("__call__")
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(by_class)


def entry(record: Record, completions: Mapping[str, CompletionRecord], host: Host) -> Entry:
    """Turn a record into an entry."""
    if isinstance(record, ToolRecord):
        return _tool(record, host)
    made = _resource(record, host) if isinstance(record, ResourceRecord) else _prompt(record, host)
    if completions:
        _add_completions(made, completions, host)
    return made


def _spec(record: Record, family: str, signed: Signature) -> JSON:
    details = record.details
    owner = f"{family} {record.name!r}"
    if details.effect not in EFFECTS:
        message = f"{owner}: effect must be 'read', 'write' or 'destroy'"
        raise ConfigError(message)
    if details.timeout is not None and not details.timeout > 0:
        message = f"{owner}: timeout must be a positive number of seconds"
        raise ConfigError(message)
    spec: JSON = {
        "family": family,
        "name": record.name,
        "title": details.title,
        "description": details.description or signed.description,
        "input": signed.input,
        "effect": details.effect,
        "toolset": details.toolset,
        "scopes": list(details.scopes),
        "timeout": details.timeout,
        "icons": icons(details.icons, owner),
        "meta": results.dump(details.meta),
    }
    if details.annotations is not None:
        spec["annotations"] = results.dump(_camel(details.annotations))
    return {key: value for key, value in spec.items() if value is not None}


def _camel(annotations: Mapping[str, Any]) -> JSON:
    """Accept ``read_only_hint`` as well as ``readOnlyHint``."""
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), key): value for key, value in annotations.items()}


def _closed(schema: Any, signed: Signature) -> Any:
    """Refuse arguments that a schema does not name, unless it says itself what else may come."""
    if not isinstance(schema, dict) or {"additionalProperties", "unevaluatedProperties"} & schema.keys():
        return schema
    if {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"} & schema.keys():
        # what its parts name counts too
        return {**schema, "unevaluatedProperties": False}
    if "properties" not in schema and "patternProperties" not in schema:
        schema = {**schema, "properties": {name: {} for name in signed.parameters}}
    return {**schema, "additionalProperties": False}


def _tool(record: ToolRecord, host: Host) -> Entry:
    owner = f"tool {record.name!r}"
    signed = signature(record.function, owner, record.names)
    spec = _spec(record, "tool", signed)
    if record.input_schema is not None:
        spec["input"] = _closed(results.dump(record.input_schema), signed)
    output = _output(record, signed)
    if output is not None:
        spec["output"] = output
    if record.redact:
        spec["redact"] = list(record.redact)
    if record.task:
        spec["task"] = _task(record.task, owner)
    shape = _wrapped if signed.wrap and not record.output_schema else _same

    def finish(value: Any, _arguments: JSON) -> Any:
        return results.tool_result(value, None if output is None else shape)

    return _runner(record.function, signed, finish, spec, host)


def _task(task: object, owner: str) -> JSON:
    said = Task() if task is True else task
    if not isinstance(said, Task):
        message = f"{owner}: task must be True, False or a bartizan.Task"
        raise ConfigError(message)
    return {"required": bool(said.required), "late": bool(said.asks_first)}


def _output(record: ToolRecord, signed: Signature) -> JSON | None:
    if record.output_schema is False:
        return None
    if record.output_schema is not None:
        found: JSON = results.dump(record.output_schema)
        return found
    return signed.output


def _wrapped(data: Any) -> Any:
    return {"result": data}


def _same(data: Any) -> Any:
    return data


_VARIABLE = re.compile(r"\{([^{}]*)\}")


def _resource(record: ResourceRecord, host: Host) -> Entry:
    variables = _VARIABLE.findall(record.uri)
    owner = f"resource {record.name!r}"
    signed = signature(record.function, owner, record.names)
    for variable in variables:
        if not variable.isidentifier():
            message = f"{owner}: {{{variable}}} is no plain template variable; only {{name}} is understood"
            raise ConfigError(message)
        if variable not in signed.parameters:
            message = f"{owner}: the address has {{{variable}}}, but the function has no such parameter"
            raise ConfigError(message)
    for name in signed.required:
        if name not in variables:
            message = f"{owner}: parameter {name!r} is not in the address"
            raise ConfigError(message)
    given = {name: shape for name, shape in signed.parameters.items() if name in variables}
    spec = _spec(record, "template" if variables else "resource", _from_text(signed, given))
    spec["uri"] = record.uri
    if record.mime_type is not None:
        spec["mimeType"] = record.mime_type
    if record.size is not None:
        spec["size"] = record.size

    def finish(value: Any, arguments: JSON) -> Any:
        uri = _VARIABLE.sub(lambda found: quote(str(arguments.get(found[1], "")), safe=""), record.uri)
        return results.resource_result(value, uri, record.mime_type)

    return _runner(record.function, _from_text(signed, given), finish, spec, host)


def _prompt(record: PromptRecord, host: Host) -> Entry:
    signed = signature(record.function, f"prompt {record.name!r}", record.names)
    spec = _spec(record, "prompt", _from_text(signed, signed.parameters))
    spec["arguments"] = [
        {
            key: value
            for key, value in (
                ("name", name),
                ("title", shape.schema.get("title")),
                ("description", shape.schema.get("description")),
                ("required", name in signed.required),
            )
            if value is not None
        }
        for name, shape in signed.parameters.items()
    ]
    description = spec.get("description")

    def finish(value: Any, _arguments: JSON) -> Any:
        return results.prompt_result(value, description)

    return _runner(record.function, _from_text(signed, signed.parameters), finish, spec, host)


def _from_text(signed: Signature, parameters: Mapping[str, Shape]) -> Signature:
    """Return the signature as prompts and templates see it: every argument is a string on the wire."""
    properties: JSON = {}
    loads = {}
    for name, shape in parameters.items():
        words: JSON = {word: shape.schema[word] for word in ("title", "description") if word in shape.schema}
        properties[name] = {"type": "string", **words}
        if shape.schema.get("type") != "string" or shape.load is not None:
            loads[name] = _text_load(shape)
    schema: JSON = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name in signed.required if name in parameters]
    if required:
        schema["required"] = required
    return dataclasses.replace(signed, input=schema, loads=loads)


def _text_load(shape: Shape) -> Callable[[Any], Any]:
    def load(value: Any) -> Any:
        import json  # noqa: PLC0415 - only for arguments that are not strings

        candidates = [value]
        with suppress(ValueError):
            candidates.append(json.loads(value))
        for candidate in candidates:
            if shape.fits(candidate):
                return candidate if shape.load is None else shape.load(candidate)
        message = "text that fits the declared type"
        raise Misfit(message)

    return load


def _runner(
    function: Function,
    signed: Signature,
    finish: Callable[[Any, JSON], Any],
    spec: JSON,
    host: Host,
) -> Entry:
    loads = tuple(signed.loads.items())
    hidden = signed.context
    positional = tuple(signed.positional)

    def ready(arguments: JSON, core: Any) -> tuple[list[Any], JSON]:
        values = dict(arguments)
        for name, load in loads:
            if name in values:
                try:
                    values[name] = load(values[name])
                except Misfit as error:
                    raise misfit(error.within(name)) from None
        if hidden is not None:
            values[hidden] = Context(core, host)
        return [values.pop(name) for name in positional if name in values], values

    if is_async(function):

        def start(arguments: JSON, core: Any, sink: Any) -> Callable[[], None]:
            args, values = ready(arguments, core)
            return host.start(lambda: function(*args, **values), lambda value: finish(value, arguments), sink)

        return Entry(spec, start, is_async=True, wants_context=hidden is not None)

    base = host.context

    def call(arguments: JSON, core: Any) -> Any:
        args, values = ready(arguments, core)
        return finish(base.copy().run(function, *args, **values), arguments)

    def quick(arguments: JSON, _core: Any) -> Any:
        return finish(base.copy().run(function, **arguments), arguments)

    plain = not loads and hidden is None and not positional
    return Entry(spec, quick if plain else call, is_async=False, wants_context=hidden is not None)


def misfit(error: Misfit) -> InvalidArguments:
    """Return the refusal for a value that passed its schema and still is not the declared type."""
    refusal = InvalidArguments(f"The argument at /{error.path} must be {error.expected}.")
    refusal._ours = True  # noqa: SLF001 - the sentence holds nothing from outside
    return refusal


def _add_completions(made: Entry, completions: Mapping[str, CompletionRecord], host: Host) -> None:
    wanted = {name: len(inspect.signature(record.function).parameters) for name, record in completions.items()}
    coroutines = any(is_async(record.function) for record in completions.values())

    def invoke(argument: str, value: str, known: JSON) -> Any:
        record = completions.get(argument)
        if record is None:
            return []
        return record.function(value, known) if wanted[argument] > 1 else record.function(value)

    if coroutines:

        async def later(argument: str, value: str, known: JSON) -> Any:
            found = invoke(argument, value, known)
            return await found if inspect.isawaitable(found) else found

        def start(argument: str, value: str, known: JSON, sink: Any) -> Callable[[], None]:
            return host.start(lambda: later(argument, value, known), results.completion_result, sink)

        made.complete, made.complete_is_async = start, True
    else:
        base = host.context

        def complete(argument: str, value: str, known: JSON) -> Any:
            return results.completion_result(base.copy().run(invoke, argument, value, known))

        made.complete = complete
