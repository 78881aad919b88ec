"""The context as tools see it: progress, log, ask, sample, roots, and who calls.

Owns :class:`Context` and what its questions return. The idea: a question ends the run unless its answer is already
there; the tool starts afresh when the answer comes. So: ask before you act.
Must not: decide whether anybody hears it; the core does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from .content import JSON, Block, block
from .exceptions import InvalidArguments
from .results import dump

if TYPE_CHECKING:
    from ._core import CallContext
    from .api import API
    from .hosting import Host
    from .schema import Shape

T = TypeVar("T")
Level = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


class _Now:
    """Something that is there already, and may be awaited all the same."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        return self


class Done(_Now):
    """Said. Awaiting it does nothing."""

    __slots__ = ()


_DONE = Done()


class Asked(BaseException):
    """Ends a run with questions. No failure, so ``except Exception`` does not see it."""

    def __init__(self, asks: Mapping[str, JSON]) -> None:
        """Keep the questions by key."""
        super().__init__()
        self.asks = dict(asks)


@dataclasses.dataclass(frozen=True)
class Principal:
    """Who calls, as far as it was authenticated."""

    id: str
    kind: str
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant: str | None = None


@dataclasses.dataclass(frozen=True)
class Client:
    """With what program, by its own account: shown, never trusted."""

    name: str
    version: str
    capabilities: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Answer(_Now, Generic[T]):
    """What a person answered. True only when it was accepted."""

    action: Literal["accept", "decline", "cancel"]
    data: T

    @property
    def accepted(self) -> bool:
        """Whether the person agreed and answered."""
        return self.action == "accept"

    def __bool__(self) -> bool:
        """Tell whether it was accepted."""
        return self.action == "accept"


@dataclasses.dataclass(frozen=True)
class Sample(_Now):
    """What the client's model answered."""

    role: str
    content: list[JSON]
    model: str
    stop_reason: str | None = None

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return "\n".join(item["text"] for item in self.content if item.get("type") == "text")


@dataclasses.dataclass(frozen=True)
class Root:
    """A folder or address the client works in."""

    uri: str
    name: str | None = None


class Roots(list[Root], _Now):
    """The client's roots."""


class _Question:
    """One question, and how its answer is read."""

    def __init__(self, wire: JSON, shape: Shape | None = None, *, scalar: bool = False) -> None:
        self.wire = wire
        self.shape = shape
        self.scalar = scalar

    def read(self, result: Any) -> Any:
        kind = self.wire["kind"]
        if kind == "roots":
            return Roots(Root(item["uri"], item.get("name")) for item in result.get("roots", []))
        if kind == "sample":
            content = result.get("content") or []
            blocks = content if isinstance(content, list) else [content]
            return Sample(result.get("role", "assistant"), blocks, result.get("model", ""), result.get("stopReason"))
        action = result.get("action", "cancel")
        if action != "accept":
            return Answer(action, None)
        if kind == "url":
            return Answer(action, None)
        return Answer(action, self._data(result.get("content") or {}))

    def _data(self, content: Any) -> Any:
        from .scalars import Misfit  # noqa: PLC0415 - only with answers

        if self.scalar:
            content = content.get("value") if isinstance(content, dict) else None
        if self.shape is None:
            return content
        if not self.shape.fits(content):
            message = "The answer does not fit the form that was asked."
            raise _ours(message)
        try:
            return content if self.shape.load is None else self.shape.load(content)
        except Misfit as error:
            message = f"The answer at /{error.path} must be {error.expected}."
            raise _ours(message) from None


def _ours(message: str) -> InvalidArguments:
    error = InvalidArguments(message)
    error._ours = True  # noqa: SLF001 - the sentence holds nothing from outside
    return error


# a type, as an annotation would say it, or a flat object schema
Form = Any


class Context:
    """Annotate a parameter with it, and the tool is handed its call's context; clients do not see the parameter."""

    __slots__ = ("_asked", "_core", "_host")

    def __init__(self, core: CallContext, host: Host) -> None:
        """Not for users: tools are handed one."""
        self._core = core
        self._host = host
        self._asked = 0

    # --- saying

    def progress(self, progress: float, total: float | None = None, message: str | None = None) -> Done:
        """Tell how far the tool has got; heard only if the caller asked for progress."""
        self._core.progress(progress, total, message)
        return _DONE

    def log(self, level: Level, data: Any, logger: str | None = None) -> Done:
        """Log to the client; `data` is text or any JSON."""
        self._core.log(level, dump(data), logger)
        return _DONE

    def debug(self, data: Any, logger: str | None = None) -> Done:
        """Log at level debug."""
        return self.log("debug", data, logger)

    def info(self, data: Any, logger: str | None = None) -> Done:
        """Log at level info."""
        return self.log("info", data, logger)

    def warning(self, data: Any, logger: str | None = None) -> Done:
        """Log at level warning."""
        return self.log("warning", data, logger)

    def error(self, data: Any, logger: str | None = None) -> Done:
        """Log at level error."""
        return self.log("error", data, logger)

    def start_task(self) -> Done:
        """Go on as a task from here: for a tool declared with ``task=Task(asks_first=True)``.

        Where the client has no tasks, and where the call is one already, this does nothing.
        """
        self._core.start_task()
        return _DONE

    def close_stream(self) -> Done:
        """Let the client go while this call takes long; it comes back for the rest.

        Clients of revision 2025-11-25 over HTTP can do that. For all others nothing happens.
        """
        self._core.close_stream()
        return _DONE

    # --- asking

    def ask(self, message: str, form: Form = None, *, key: str | None = None) -> Answer[Any]:
        """Ask the user. `form` is a type (``str``, a Literal, a dataclass, ...) or a flat object schema.

        Without a form it is a plain yes or no. The run ends here unless the answer is there; the tool starts afresh
        with it, so ask before you act.
        """
        answer: Answer[Any] = self._one(key, _form(message, form))
        return answer

    def ask_url(self, message: str, url: str, *, key: str | None = None) -> Answer[None]:
        """Ask the user to open an address and do something there."""
        answer: Answer[None] = self._one(key, _Question({"kind": "url", "message": message, "url": url}))
        return answer

    def ask_all(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        """Ask several things at once: ``{"name": ctx.form("Your name?", str), "roots": ctx.form_roots()}``.

        A value is what :meth:`form`, :meth:`form_url`, :meth:`form_sample` or :meth:`form_roots` returned, or a
        ``(message, form)`` pair, or a message.
        """
        built: dict[str, _Question] = {}
        for key, question in questions.items():
            if isinstance(question, _Question):
                built[key] = question
            elif isinstance(question, str):
                built[key] = _form(question, None)
            else:
                built[key] = _form(*question)
        return self._all(built)

    def sample(
        self,
        messages: str | Sequence[Any],
        *,
        max_tokens: int = 1024,
        system_prompt: str | None = None,
        key: str | None = None,
        **options: Any,
    ) -> Sample:
        """Ask the client's model. `options` are further parameters of ``sampling/createMessage``."""
        question = self.form_sample(messages, max_tokens=max_tokens, system_prompt=system_prompt, **options)
        sample: Sample = self._one(key, question)
        return sample

    def roots(self, *, key: str | None = None) -> Roots:
        """Ask the client for its roots."""
        roots: Roots = self._one(key, self.form_roots())
        return roots

    @staticmethod
    def form(message: str, form: Form = None) -> _Question:
        """Return a question for :meth:`ask_all`."""
        return _form(message, form)

    @staticmethod
    def form_url(message: str, url: str) -> _Question:
        """Return a question with an address for :meth:`ask_all`."""
        return _Question({"kind": "url", "message": message, "url": url})

    @staticmethod
    def form_roots() -> _Question:
        """Return a question for the client's roots for :meth:`ask_all`."""
        return _Question({"kind": "roots"})

    @staticmethod
    def form_sample(
        messages: str | Sequence[Any],
        *,
        max_tokens: int = 1024,
        system_prompt: str | None = None,
        **options: Any,
    ) -> _Question:
        """Return a question to the client's model for :meth:`ask_all`."""
        items = [messages] if isinstance(messages, str) else messages
        params: JSON = {"messages": [_message(item) for item in items], "maxTokens": max_tokens}
        if system_prompt is not None:
            params["systemPrompt"] = system_prompt
        params.update(dump(options))
        return _Question({"kind": "sample", "params": params})

    def _one(self, key: str | None, question: _Question) -> Any:
        self._asked += 1
        if key is None:
            from hashlib import blake2s  # noqa: PLC0415 - only when something is asked

            text = repr(sorted(question.wire.items(), key=lambda item: item[0]))
            key = f"q{self._asked}-{blake2s(text.encode(), digest_size=4).hexdigest()}"
        return self._all({key: question})[key]

    def _all(self, questions: Mapping[str, _Question]) -> dict[str, Any]:
        results = {key: self._core.answer(key, question.wire) for key, question in questions.items()}
        if any(result is None for result in results.values()):
            raise Asked({key: questions[key].wire for key, result in results.items() if result is None})
        return {key: questions[key].read(result) for key, result in results.items()}

    # --- knowing

    @property
    def principal(self) -> Principal:
        """Who calls."""
        data = self._core.principal
        return Principal(
            data["id"],
            data["kind"],
            frozenset(data["scopes"]),
            frozenset(data["roles"]),
            data["tenant"],
        )

    @property
    def client(self) -> Client:
        """With what program."""
        name, version, capabilities = self._core.client
        return Client(name, version, frozenset(capabilities))

    @property
    def request_id(self) -> str:
        """The request's id, as JSON text."""
        return self._core.request_id

    @property
    def meta(self) -> JSON:
        """The request's ``_meta``."""
        return self._core.meta

    @property
    def revision(self) -> str:
        """The protocol revision in use."""
        return self._core.revision

    @property
    def transport(self) -> str:
        """How the request came: ``stdio``, ``http`` or ``memory``."""
        return self._core.transport

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone or the time is up. A sync tool that takes long should look now and then."""
        return self._core.cancelled

    @property
    def state(self) -> Any:
        """What the server's lifespan yielded."""
        return self._host.state

    def api(self, name: str) -> API:
        """Return a configured connector's client, capped at what this tool may do."""
        from .api import API  # noqa: PLC0415 - only with connectors

        return API(self._core.api(name))


def _message(item: Any) -> JSON:
    if isinstance(item, Mapping):
        return dict(item)
    if hasattr(item, "role"):
        wire: JSON = item.wire()
        return wire
    content: Block | str = item
    return {"role": "user", "content": block(content).wire()}


def _form(message: str, form: Form) -> _Question:
    """Return a form question; the schema is flat and made of primitives, as the protocol wants."""
    if form is None:
        empty: JSON = {"type": "object", "properties": {}}
        return _Question({"kind": "form", "message": message, "schema": empty})
    if isinstance(form, Mapping):
        return _Question({"kind": "form", "message": message, "schema": dump(form)})
    from .schema import Builder  # noqa: PLC0415 - only with questions that have a form

    shape = Builder().named(form, "ask()")
    scalar = "properties" not in shape.schema
    source: JSON = {"properties": {"value": shape.schema}, "required": ["value"]} if scalar else shape.schema
    properties, required = {}, list(source.get("required", ()))
    for name, inner in source["properties"].items():
        properties[name] = _primitive(name, inner)
        if _nullable(inner) and name in required:
            required.remove(name)
    schema: JSON = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return _Question({"kind": "form", "message": message, "schema": schema}, shape, scalar=scalar)


def _nullable(schema: JSON) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def _primitive(name: str, schema: JSON) -> JSON:
    """Return a property as elicitation allows it."""
    if _nullable(schema):
        rest = [inner for inner in schema["anyOf"] if inner != {"type": "null"}]
        words = {word: value for word, value in schema.items() if word not in ("anyOf", "default")}
        schema = {**rest[0], **words} if len(rest) == 1 else schema
    items = schema.get("items", {})
    choices = schema.get("type") == "array" and ("enum" in items or "anyOf" in items)
    if choices or schema.get("type") in ("string", "integer", "number", "boolean"):
        return {word: value for word, value in schema.items() if word != "uniqueItems"}
    message = f"ask(): {name!r} must be text, a number, a boolean, a Literal or an Enum; forms are flat"
    raise TypeError(message)
