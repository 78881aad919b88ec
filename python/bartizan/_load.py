"""Finding the server in a file or module, for ``--tools``.

Owns :func:`load`. The idea: the file is ordinary Python that holds ``server = Server(...)``.
Must not: run anything but the import itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .exceptions import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

    from ._core import Running
    from .server import Server


def load(target: str) -> Server:
    """Import a file or a module (``pkg.mod``, ``pkg.mod:name``, ``file.py:name``) and return its server."""
    from .server import Server  # noqa: PLC0415 - not before it is needed

    place, _, attribute = target.rpartition(":") if ":" in target and not Path(target).exists() else (target, "", "")
    module = _from_file(Path(place)) if _is_file(place) else _from_name(place)
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, Server):
            message = f"--tools {target}: {attribute!r} there is no bartizan.Server"
            raise ConfigError(message)
        return found
    named = getattr(module, "server", None)
    if isinstance(named, Server):
        return named
    servers = {id(value): value for value in vars(module).values() if isinstance(value, Server)}
    if len(servers) != 1:
        what = "no bartizan.Server" if not servers else "several servers"
        message = f"--tools {target}: there is {what} in it; write server = Server(...), or name it as {place}:NAME"
        raise ConfigError(message)
    return next(iter(servers.values()))


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place or Path(place).is_file()


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        message = f"--tools {path}: there is no such file"
        raise ConfigError(message)
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else "bartizan_tools"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        message = f"--tools {path}: it is no Python file"
        raise ConfigError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    _run(lambda: spec.loader.exec_module(module), str(path))
    return module


def _from_name(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found: list[ModuleType] = []
    _run(lambda: found.append(importlib.import_module(name)), name)
    return found[0]


def _run(step: object, target: str) -> None:
    try:
        step()  # type: ignore[operator]
    except ConfigError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        message = f"--tools {target}: importing it raised {type(error).__name__}"
        raise ConfigError(message) from error


class Hosted:
    """A loaded server on its way to the core: its plan, its host, its end."""

    def __init__(self, server: Server) -> None:
        """Enter the lifespan and make the plan."""
        self.server = server
        self.host = server._host()  # noqa: SLF001 - the other half of the server
        self.host.open()
        self.plan = server._plan(self.host)  # noqa: SLF001 - the other half of the server

    def attach(self, running: Running) -> None:
        """Remember what runs, for tools that are added later."""
        self.server._attach(self.host)(running)  # noqa: SLF001 - the other half of the server

    def close(self, timeout: float) -> None:
        """Leave the lifespan, within so many seconds."""
        self.server._detach(self.host)  # noqa: SLF001 - the other half of the server
        self.host.close(timeout)


def hosted(target: str) -> Hosted:
    """Load a server and make it ready."""
    return Hosted(load(target))
