"""Functions that watch the line: guards and audit sinks.

Owns :class:`Hook` and how one is made. The idea: a guard names the facts it wants as parameters; a sink gets one record
at a time. Both may be sync or async.
Must not: decide; what a guard says is checked by the core.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

from .context import Principal
from .exceptions import ConfigError
from .tool import called, is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .content import JSON
    from .hosting import Host

FACTS = ("principal", "tool", "arguments", "effect")


@dataclasses.dataclass(frozen=True)
class HookRecord:
    """A function that was decorated with ``@server.guard`` or ``@server.audit_sink``."""

    function: Callable[..., Any]
    timeout: float = 5.0


@dataclasses.dataclass(frozen=True)
class Hook:
    """Something the core can ask or tell."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    timeout: float


def wanted(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the facts a guard wants, or say what it cannot have."""
    facts = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            return FACTS
        if parameter.name in FACTS and parameter.kind is not parameter.POSITIONAL_ONLY:
            facts.append(parameter.name)
        elif parameter.default is parameter.empty:
            message = f"guard {called(function)!r}: it can have {', '.join(FACTS)}, not {parameter.name!r}"
            raise ConfigError(message)
    return tuple(facts)


def guard(record: HookRecord, host: Host) -> Hook:
    """Make a guard ready."""
    function, facts, base = record.function, wanted(record.function), host.context

    def given(principal: JSON, tool: str, arguments: JSON, effect: str) -> JSON:
        who = Principal(
            principal["id"],
            principal["kind"],
            frozenset(principal["scopes"]),
            frozenset(principal["roles"]),
            principal["tenant"],
        )
        everything = {"principal": who, "tool": tool, "arguments": arguments, "effect": effect}
        return {name: everything[name] for name in facts}

    if is_async(function):

        def start(principal: JSON, tool: str, arguments: JSON, effect: str, sink: Any) -> Callable[[], None]:
            values = given(principal, tool, arguments, effect)
            return host.start(lambda: function(**values), _same, sink)

        return Hook(called(function), start, is_async=True, timeout=record.timeout)

    def ask(principal: JSON, tool: str, arguments: JSON, effect: str) -> Any:
        return base.copy().run(function, **given(principal, tool, arguments, effect))

    return Hook(called(function), ask, is_async=False, timeout=record.timeout)


def sink(record: HookRecord, host: Host) -> Hook:
    """Make an audit sink ready."""
    function, base = record.function, host.context

    if is_async(function):

        async def later(records: Sequence[JSON]) -> None:
            for one in records:
                await function(one)

        def start(records: Sequence[JSON], sink: Any) -> Callable[[], None]:
            return host.start(lambda: later(records), _same, sink)

        return Hook(called(function), start, is_async=True, timeout=record.timeout)

    def tell(records: Sequence[JSON]) -> None:
        for one in records:
            base.copy().run(function, one)

    return Hook(called(function), tell, is_async=False, timeout=record.timeout)


def _same(value: Any) -> Any:
    return value
