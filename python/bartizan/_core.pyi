"""The compiled core of bartizan."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Final, TypeAlias, final

__version__: Final[str]
ERROR_KINDS: Final[dict[str, str]]

__all__ = [
    "ERROR_KINDS",
    "AnswerSink",
    "CallContext",
    "Cancel",
    "Connection",
    "MemoryClient",
    "RateLimiter",
    "Redactor",
    "Running",
    "Sink",
    "__version__",
    "connect",
    "leave",
    "main",
    "serve",
    "stuck_threads",
]

_JSON: TypeAlias = dict[str, Any]
_Done: TypeAlias = Callable[[Any, Any], object]

def main(arguments: Sequence[str | PathLike[str]], /) -> int:
    """Runs the command line and returns its exit code."""

def serve(
    plan: _JSON,
    arguments: Sequence[str | PathLike[str]],
    attach: Callable[[Running], object],
    enter: Callable[[], object],
    leave: Callable[[float], object],
    /,
) -> int:
    """Serves a Python server as `bartizan serve ARGUMENTS` would, and returns the exit code. `enter()` enters its
    lifespan, once the wire is out of reach; `leave(seconds)` leaves it.
    """

def connect(
    name: str,
    /,
    *,
    allow: str,
    config: _JSON | None,
    config_path: str | PathLike[str] | None,
    base: str | None,
    auth: str | None,
    practice: bool,
) -> Connection:
    """Opens a connector for a script. `allow` is the most that its calls may do."""

def stuck_threads() -> int:
    """How many threads are held by sync tools that did not return in time."""

def leave(code: int) -> None:
    """Ends the process at once when a thread is stuck in a tool, which nothing could interrupt; else does nothing."""

@final
class Redactor:
    """Removes secrets from text and data."""

    def __new__(
        cls,
        *,
        keys: Sequence[str] = ...,
        keep: Sequence[str] = ...,
        patterns: Sequence[str] = ...,
        pii: Sequence[str] = ...,
    ) -> Redactor:
        """Takes more key names that are secret, key names that are not, and more patterns.

        ``pii`` names data about people that goes too: ``email``, ``phone``, ``iban``, ``card``, ``ip``.
        """

    def learn(self, secret: str, /) -> None:
        """Adds a credential, which is then removed in every encoding."""

    def text(self, text: str, /) -> str:
        """Returns a text without its secrets."""

    def data(self, data: Any, /) -> Any:
        """Returns plain data without its secrets: by key name, and by what its texts hold."""

    def labels(self, text: str, /) -> list[str]:
        """Returns what a text from outside tries with a model that reads it, such as ``instruction``."""

@final
class RateLimiter:
    """Counts calls by key."""

    def __new__(cls, per_minute: int, burst: int | None = None) -> RateLimiter:
        """Lets a key make so many calls a minute, and `burst` (as many, unless given) at once."""

    def take(self, key: str, cost: int = 1) -> None:
        """Takes a call; raises RateLimited, which says when to come back."""

    def left(self, key: str, /) -> int:
        """Returns how many calls the key could make right now."""

@final
class CallContext:
    """One call's context."""

    @property
    def principal(self) -> _JSON:
        """Who calls."""

    @property
    def client(self) -> tuple[str, str, list[str]]:
        """Name, version and capabilities of the client."""

    @property
    def meta(self) -> _JSON:
        """The request's `_meta`."""

    @property
    def request_id(self) -> str:
        """The request's id, as _JSON text."""

    @property
    def revision(self) -> str:
        """The protocol revision in use."""

    @property
    def transport(self) -> str:
        """How the request came."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the call any more."""

    def progress(self, progress: float, total: float | None = None, message: str | None = None, /) -> None:
        """Tells how far the tool has got."""

    def log(self, level: str, data: Any, logger: str | None = None, /) -> None:
        """Logs to the client."""

    def start_task(self) -> None:
        """Makes the call a task, if its tool says so by itself and the client supports tasks."""

    def close_stream(self) -> None:
        """Lets the client go while the call takes long, where the protocol has that."""

    def answer(self, key: str, question: _JSON, /) -> _JSON | None:
        """The client's answer to a question, checked against it; None if it has not come."""

    def api(self, name: str, /) -> Connection:
        """A connector of this server, capped at what this tool may do."""

@final
class Sink:
    """Where a coroutine's result goes; Python calls exactly one of the two, once."""

    def done(self, result: Any, /) -> None:
        """Hands the result over."""

    def failed(self, error: BaseException, /) -> None:
        """Hands over what was raised."""

@final
class Cancel:
    """Cancels what was started."""

    def cancel(self) -> None:
        """Cancels it."""

@final
class Connection:
    """A connector's tools, callable."""

    @property
    def name(self) -> str:
        """The connector's name."""

    def tools(self) -> list[_JSON]:
        """The operations: name, description, effect, input schema."""

    def call(self, tool: str, arguments: _JSON) -> Any:
        """Calls an operation and waits for its plain data."""

    def start(self, tool: str, arguments: _JSON, done: _Done) -> Cancel:
        """Calls an operation; `done(data, error)` is called from another thread."""

    def close(self) -> None:
        """Ends it; the audit is complete afterwards."""

@final
class Running:
    """A server that runs, or is about to."""

    def __new__(cls, plan: _JSON) -> Running:
        """Makes everything the plan names; nothing is served yet."""

    def serve(self, ready: Callable[[str, str | None], object], done: _Done, /, *, no_auth: bool = False) -> None:
        """Serves over HTTP if the plan has an address, else over standard input and output, until it ends or is
        stopped. `ready(url, key_file)` and `done(None, error)` are called from another thread.
        """

    def stop(self) -> None:
        """Stops serving; requests under way are given a moment."""

    def close(self, done: _Done) -> None:
        """Ends what was started without serving."""

    def add(self, entries: Sequence[Any]) -> None:
        """Adds entries; clients are told."""

    def remove(self, family: str, name: str) -> bool:
        """Removes a tool, resource, template or prompt; clients are told. False if there is none of that name."""

    def resource_updated(self, uri: str) -> None:
        """Tells whoever watches it that a resource has changed."""

    def connect(self, options: _JSON, done: _Done, /) -> Cancel:
        """Opens a client in memory; `done(client, error)` is called from another thread."""

@final
class MemoryClient:
    """A conversation with a server in this process."""

    @property
    def server(self) -> _JSON:
        """What the server said of itself."""

    def request(
        self,
        method: str,
        params: _JSON,
        done: _Done,
        /,
        *,
        progress: Callable[[_JSON], object] | None = None,
        timeout: float | None = None,
    ) -> Cancel:
        """Sends a request; `done(result, error)` and `progress(params)` are called from another thread."""

    def close(self, done: _Done) -> None:
        """Ends the conversation; `done(None, error)` is called from another thread."""

@final
class AnswerSink:
    """Where the answer to a question goes."""

    def done(self, result: Any) -> None:
        """Hands the answer over."""
