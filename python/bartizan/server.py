"""The server: decorators that take notes, and the ways to run it.

Owns :class:`Server`. The idea: a decorator records and returns the function unchanged; everything is registered in
one loop when the server starts.
Must not: run a tool; the core does, on the line.
"""

from __future__ import annotations

import sys
from _thread import RLock  # threading itself is not loaded before something runs
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .exceptions import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ._core import Running
    from .content import JSON, Icon
    from .hooks import Hook, HookRecord
    from .hosting import Host
    from .testing import TestClient
    from .tool import CompletionRecord, Details, Effect, Entry, Record, Task

F = TypeVar("F", bound=Callable[..., Any])


class Server:
    """An MCP server.

    ``config`` is a ``bartizan.toml`` by path, or its content as a mapping; ``policy`` is short for
    ``config={"policy": ...}``. Tools are read-only unless the policy allows more.
    """

    def __init__(
        self,
        name: str = "bartizan",
        *,
        version: str | None = None,
        title: str | None = None,
        description: str | None = None,
        website_url: str | None = None,
        icons: Sequence[Icon | str] = (),
        instructions: str | None = None,
        config: Mapping[str, Any] | str | Path | None = None,
        policy: str | None = None,
        lifespan: Callable[[Server], AbstractAsyncContextManager[Any]] | None = None,
    ) -> None:
        """Describe the server; nothing runs yet."""
        self.name = name
        self.version = version
        self.title = title
        self.description = description
        self.website_url = website_url
        self.icons = icons
        self.instructions = instructions
        self.config = config
        self.policy = policy
        self.lifespan = lifespan
        self._records: dict[tuple[str, str], Record] = {}
        self._completions: dict[str, dict[str, CompletionRecord]] = {}
        self._guards: list[HookRecord] = []
        self._sinks: list[HookRecord] = []
        self._running: dict[Running, Host] = {}
        self._lock = RLock()  # tools may be added and removed from any thread

    def __repr__(self) -> str:
        """Return the name and how much there is."""
        return f"<bartizan.Server {self.name!r}: {len(self._records)} registered>"

    # --- decorators

    @overload
    def tool(self, name: F, /) -> F: ...

    @overload
    def tool(
        self,
        name: str | None = None,
        *,
        title: str | None = None,
        description: str | None = None,
        effect: Effect = "write",
        toolset: str = "default",
        timeout: float | None = None,
        scopes: Sequence[str] = (),
        annotations: Mapping[str, Any] | None = None,
        icons: Sequence[Icon | str] = (),
        meta: Mapping[str, Any] | None = None,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | Literal[False] | None = None,
        redact: Sequence[str] = (),
        task: bool | Task = False,
    ) -> Callable[[F], F]: ...

    def tool(
        self,
        name: Any = None,
        *,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | Literal[False] | None = None,
        redact: Sequence[str] = (),
        task: bool | Task = False,
        **details: Any,
    ) -> Any:
        """Make a function a tool; works with and without parentheses.

        ``effect`` is what it does to the world: ``"read"``, ``"write"`` (unless declared) or ``"destroy"``.
        ``timeout`` is in seconds; ``output_schema=False`` says there is no structured result; ``redact`` holds JSON
        Pointers into the result that never leave. With ``task=True`` a call outlives its request where the client
        supports tasks; :class:`bartizan.Task` says more.
        """
        from .tool import ToolRecord  # noqa: PLC0415 - loaded with the first decorator

        def note(function: F, name: str | None = None, names: JSON | None = None) -> F:
            common = _details(name, details)
            self._note(
                "tool",
                ToolRecord(function, common, output_schema, input_schema, redact, names, task),
            )
            return function

        names = _names(sys._getframe(1))  # noqa: SLF001 - string annotations may name the caller's locals
        if callable(name):
            return note(name, None, names)
        return lambda function: note(function, name, names)

    def resource(
        self,
        uri: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        effect: Effect = "read",
        toolset: str = "default",
        timeout: float | None = None,
        scopes: Sequence[str] = (),
        annotations: Mapping[str, Any] | None = None,
        icons: Sequence[Icon | str] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]:
        """Make a function a resource; an address with ``{variables}`` makes it a template."""
        from .tool import Details, ResourceRecord  # noqa: PLC0415 - loaded with the first decorator

        names = _names(sys._getframe(1))  # noqa: SLF001 - string annotations may name the caller's locals

        def note(function: F) -> F:
            details = Details(name, title, description, effect, toolset, timeout, scopes, annotations, icons, meta)
            self._note("resource", ResourceRecord(function, details, uri, mime_type, size, names))
            return function

        return note

    @overload
    def prompt(self, name: F, /) -> F: ...

    @overload
    def prompt(
        self,
        name: str | None = None,
        *,
        title: str | None = None,
        description: str | None = None,
        effect: Effect = "read",
        toolset: str = "default",
        timeout: float | None = None,
        scopes: Sequence[str] = (),
        icons: Sequence[Icon | str] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]: ...

    def prompt(self, name: Any = None, **details: Any) -> Any:
        """Make a function a prompt; works with and without parentheses."""
        from .tool import PromptRecord  # noqa: PLC0415 - loaded with the first decorator

        def note(function: F, name: str | None = None, names: JSON | None = None) -> F:
            self._note("prompt", PromptRecord(function, _details(name, {"effect": "read", **details}), names))
            return function

        names = _names(sys._getframe(1))  # noqa: SLF001 - string annotations may name the caller's locals
        if callable(name):
            return note(name, None, names)
        return lambda function: note(function, name, names)

    def completion(self, target: str, argument: str) -> Callable[[F], F]:
        """Suggest values for an argument of a prompt (by name) or of a template (by address).

        The function gets what was typed so far, and as a second parameter, if it has one, the arguments already
        chosen.
        """
        from .tool import CompletionRecord  # noqa: PLC0415 - loaded with the first decorator

        def note(function: F) -> F:
            self._completions.setdefault(target, {})[argument] = CompletionRecord(function, target, argument)
            return function

        return note

    @overload
    def guard(self, function: F, /) -> F: ...

    @overload
    def guard(self, *, timeout: float = 5.0) -> Callable[[F], F]: ...

    def guard(self, function: Any = None, *, timeout: float = 5.0) -> Any:
        """Make a function a guard: a rule of your own that every call has to pass, after the policy.

        Its parameters are any of ``principal``, ``tool`` (the name), ``arguments`` and ``effect``. It returns None or
        ``"allow"`` for no objection, ``"ask"`` so that a person is asked, or ``"deny"``. It can only make the verdict
        stricter; if it raises, returns something else or takes longer than ``timeout`` seconds, the call is denied.
        """
        return self._hook(self._guards, function, timeout)

    @overload
    def audit_sink(self, function: F, /) -> F: ...

    @overload
    def audit_sink(self) -> Callable[[F], F]: ...

    def audit_sink(self, function: Any = None) -> Any:
        """Make a function an audit sink: it gets each audit record as a dict, after it was written.

        It never holds up a call. Records wait in a bounded queue; if it is too slow, what does not fit is dropped, and
        the log and the audit say how many. The file has them all.
        """
        return self._hook(self._sinks, function, 5.0)

    # --- at run time

    def add_tool(self, function: Callable[..., Any], name: str | None = None, **details: Any) -> None:
        """Add a tool; clients of a running server are told. Takes what ``@server.tool`` takes."""
        self.tool(name, **details)(function)

    def add_resource(self, function: Callable[..., Any], uri: str, **details: Any) -> None:
        """Add a resource or template; clients of a running server are told. Takes what ``@server.resource`` takes."""
        self.resource(uri, **details)(function)

    def add_prompt(self, function: Callable[..., Any], name: str | None = None, **details: Any) -> None:
        """Add a prompt; clients of a running server are told. Takes what ``@server.prompt`` takes."""
        self.prompt(name, **details)(function)

    def remove_tool(self, name: str) -> None:
        """Remove a tool; clients of a running server are told. Raises KeyError if there is none of that name."""
        self._remove("tool", name)

    def remove_resource(self, name: str) -> None:
        """Remove a resource or template by its name; clients are told. Raises KeyError if there is none."""
        self._remove("resource", name)

    def remove_prompt(self, name: str) -> None:
        """Remove a prompt; clients of a running server are told. Raises KeyError if there is none of that name."""
        self._remove("prompt", name)

    def resource_updated(self, uri: str) -> None:
        """Tell the clients that subscribed to a resource that it has changed."""
        for running in list(self._running):
            running.resource_updated(uri)

    # --- running

    def run(
        self,
        transport: Literal["stdio", "http"] | None = None,
        *,
        http: str | None = None,
        arguments: Iterable[str] | None = None,
    ) -> int:
        """Serve until the client goes away, Ctrl-C or SIGTERM, and return the exit code.

        With neither `transport` nor `http`, the command line decides (``--http HOST:PORT``, ``--policy``, ...: what
        ``bartizan serve`` takes), then the configuration; without anything it is stdio.
        """
        from . import _core  # noqa: PLC0415 - the core is loaded when something runs

        words = list(sys.argv[1:] if arguments is None and transport is None and http is None else arguments or ())
        if transport == "http" and http is None:
            http = "127.0.0.1:8000"
        if http is not None:
            words += ["--http", http]
        host = self._host()
        try:
            code = _core.serve(self._plan(host), words, self._attach(host), host.open, host.close)
        finally:
            self._detach(host)
            host.close()
        _core.leave(code)
        return code

    async def serve(
        self,
        transport: Literal["stdio", "http"] = "stdio",
        *,
        http: str | None = None,
        no_auth: bool = False,
        ready: Callable[[str, str | None], object] | None = None,
    ) -> None:
        """Serve within the running event loop, on which async tools then run too; cancelling it ends it.

        ``ready(url, key_file)`` is called once it listens (HTTP); ``key_file`` holds the key that was made for it.
        """
        import asyncio  # noqa: PLC0415 - the caller has it

        host = self._host(asyncio.get_running_loop())
        await host.enter()
        try:
            running = self._start(host, http="127.0.0.1:8000" if transport == "http" and http is None else http)
            try:
                await _serve(running, no_auth=no_auth, ready=ready)
            finally:
                self._detach(host)
        finally:
            await host.leave()

    def test_client(self, **options: Any) -> TestClient:
        """Return a client in memory: ``async with server.test_client() as client``."""
        from .testing import TestClient  # noqa: PLC0415 - only in tests

        return TestClient(self, **options)

    # --- inside

    def _hook(self, hooks: list[HookRecord], function: Any, timeout: float) -> Any:
        from .hooks import HookRecord  # noqa: PLC0415 - loaded with the first decorator

        def note(function: F) -> F:
            with self._lock:
                if self._running:
                    message = "guards and audit sinks have to be there before the server runs"
                    raise ConfigError(message)
                if not timeout > 0:
                    message = "timeout must be a positive number of seconds"
                    raise ConfigError(message)
                hooks.append(HookRecord(function, timeout))
            return function

        return note if function is None else note(function)

    def _note(self, family: str, record: Record) -> None:
        with self._lock:
            self._register(family, record)

    def _register(self, family: str, record: Record) -> None:
        key = (family, record.name)
        if key in self._records:
            message = f"{family} {record.name!r} is registered twice; give one of them another name"
            raise ConfigError(message)
        done: list[Running] = []
        try:
            for running, host in list(self._running.items()):
                running.add([self._entry(record, host)])
                done.append(running)
        except BaseException:
            for running in done:
                running.remove(_list_of(family, record), record.name)
            raise
        self._records[key] = record

    def _remove(self, family: str, name: str) -> None:
        with self._lock:
            record = self._records.pop((family, name))
            for running in list(self._running):
                running.remove(_list_of(family, record), name)

    def _host(self, loop: Any = None) -> Host:
        from .hosting import Host  # noqa: PLC0415 - only when it runs

        return Host(self, loop)

    def _entry(self, record: Record, host: Host) -> Entry:
        from .tool import entry  # noqa: PLC0415 - loaded with the first decorator

        names = (record.name, getattr(record, "uri", record.name))
        found: dict[str, CompletionRecord] = {}
        for name in names:
            found.update(self._completions.get(name, {}))
        return entry(record, found, host)

    def _plan(self, host: Host, **more: Any) -> JSON:
        """Return everything the core needs to run the server."""
        with self._lock:
            return self._planned(host, **more)

    def _planned(self, host: Host, **more: Any) -> JSON:
        from .content import icons  # noqa: PLC0415 - only when it runs

        hooks: dict[str, list[Hook]] = {"guards": [], "sinks": []}
        if self._guards or self._sinks:
            from .hooks import guard, sink  # noqa: PLC0415 - only where there are any

            hooks = {
                "guards": [guard(record, host) for record in self._guards],
                "sinks": [sink(record, host) for record in self._sinks],
            }
        host.planned = dict(self._records)
        targets = {name for record in self._records.values() for name in (record.name, getattr(record, "uri", ""))}
        for target in self._completions:
            if target not in targets:
                message = f"completion for {target!r}: there is no such prompt or template"
                raise ConfigError(message)
        config: Any = self.config
        if self.policy is not None:
            if config is not None and not isinstance(config, Mapping):
                message = "policy= cannot be combined with a configuration file; put it into the file"
                raise ConfigError(message)
            config = {**(config or {}), "policy": self.policy}
        return {
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "description": self.description,
            "websiteUrl": self.website_url,
            "icons": icons(self.icons, f"server {self.name!r}"),
            "instructions": self.instructions,
            "config": dict(config) if isinstance(config, Mapping) else None,
            "config_path": str(config) if config is not None and not isinstance(config, Mapping) else None,
            "entries": [self._entry(record, host) for record in self._records.values()],
            **hooks,
            **more,
        }

    def _start(self, host: Host, **more: Any) -> Running:
        from . import _core  # noqa: PLC0415 - the core is loaded when something runs

        running = _core.Running(self._plan(host, **more))
        self._attach(host)(running)
        return running

    def _attach(self, host: Host) -> Callable[[Running], None]:
        def attach(running: Running) -> None:
            with self._lock:
                self._running[running] = host
                # what came and went between the plan and now
                for (family, name), record in host.planned.items():
                    if self._records.get((family, name)) is not record:
                        running.remove(_list_of(family, record), name)
                for key, record in self._records.items():
                    if host.planned.get(key) is not record:
                        running.add([self._entry(record, host)])

        return attach

    def _detach(self, host: Host) -> None:
        with self._lock:
            for running in [running for running, other in self._running.items() if other is host]:
                del self._running[running]


async def _serve(running: Running, *, no_auth: bool, ready: Callable[[str, str | None], object] | None) -> None:
    """Serve and wait for the end without blocking the loop; being cancelled stops the server first."""
    import asyncio  # noqa: PLC0415 - the caller has it

    from .waiting import wait  # noqa: PLC0415 - only when it runs

    loop = asyncio.get_running_loop()

    def tell(url: str, key_file: str | None) -> None:
        if ready is not None:
            loop.call_soon_threadsafe(ready, url, key_file)

    serving = asyncio.ensure_future(wait(lambda done: running.serve(tell, done, no_auth=no_auth)))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        running.stop()
        await asyncio.wait([serving], timeout=5)
        raise


def _list_of(family: str, record: Record) -> str:
    """Return the core's list: what has variables in its address is in another one."""
    return "template" if "{" in getattr(record, "uri", "") else family


def _details(name: str | None, details: Mapping[str, Any]) -> Details:
    from .tool import Details  # noqa: PLC0415 - loaded with the first decorator

    return Details(name=name, **details)


def _names(frame: Any) -> dict[str, Any] | None:
    """Return the caller's local names, where a string annotation may look; None at module level."""
    return None if frame.f_locals is frame.f_globals else dict(frame.f_locals)


__all__ = ["Server"]
