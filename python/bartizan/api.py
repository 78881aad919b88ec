"""Connectors from scripts: validated, paced, redacted and audited, as they are for an AI client.

Owns :func:`connect` and :class:`API`. The idea: an operation is a method; plain data comes back, typed exceptions are
raised.
Must not: decide what is allowed; the line does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from ._core import Connection


def connect(
    name: str,
    *,
    allow: Literal["read", "write", "destroy"] | None = None,
    config: Mapping[str, Any] | str | Path | None = None,
    base: str | None = None,
    auth: str | None = None,
    practice: bool = False,
) -> API:
    """Return a client for a connector, read-only unless `allow` says more.

    ``config`` is a ``bartizan.toml`` by path or its content as a mapping; ``base`` and ``auth`` override the
    connector's; with ``practice=True`` a local stand-in answers.
    """
    from . import _core  # noqa: PLC0415 - the core is loaded when it is used

    mapping = isinstance(config, Mapping)
    return API(
        _core.connect(
            name,
            allow=allow or "read",
            config=dict(config) if isinstance(config, Mapping) else None,
            config_path=None if mapping or config is None else str(config),
            base=base,
            auth=auth,
            practice=practice,
        )
    )


class API:
    """A connector's operations: ``api.list_ports(limit=5)``, ``api.call("list_ports")``, ``await api.acall(...)``."""

    def __init__(self, connection: Connection) -> None:
        """Not for users: :func:`connect` and ``ctx.api`` make them."""
        self._connection = connection

    def __repr__(self) -> str:
        """Return the connector's name."""
        return f"<bartizan.API {self._connection.name!r}>"

    def call(self, operation: str, /, **arguments: Any) -> Any:
        """Call an operation and return its plain data."""
        from .results import dump  # noqa: PLC0415 - loaded with the first call

        return self._connection.call(operation, dump(arguments))

    async def acall(self, operation: str, /, **arguments: Any) -> Any:
        """Call an operation from a coroutine; being cancelled aborts it."""
        from .results import dump  # noqa: PLC0415 - loaded with the first call
        from .waiting import wait  # noqa: PLC0415 - loaded with the first call

        data = dump(arguments)
        return await wait(lambda done: self._connection.start(operation, data, done))

    def tools(self) -> list[dict[str, Any]]:
        """Return the operations: name, description, effect, input schema."""
        return self._connection.tools()

    def close(self) -> None:
        """End it; the audit is complete afterwards."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        """Return an operation as a function."""
        if operation.startswith("_"):
            raise AttributeError(operation)

        def call(**arguments: Any) -> Any:
            return self.call(operation, **arguments)

        call.__name__ = operation
        return call

    def __dir__(self) -> list[str]:
        """List the operations too."""
        return [*super().__dir__(), *(tool["name"] for tool in self.tools())]
