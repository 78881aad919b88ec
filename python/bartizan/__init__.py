"""bartizan: the MCP server you can hand production credentials to.

Owns the public names, and only those. The idea: importing costs next to nothing, each name is loaded when it is
first used. Must not: import anything at the top.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import logging
    from ._core import RateLimiter, Redactor, __version__
    from .api import API, connect
    from .content import (
        Audio,
        Contents,
        EmbeddedResource,
        Icon,
        Image,
        Message,
        PromptResult,
        ResourceLink,
        Text,
        ToolResult,
    )
    from .context import Answer, Client, Context, Principal, Root, Sample
    from .exceptions import (
        ApprovalRequired,
        BartizanError,
        Cancelled,
        ConfigError,
        Declined,
        Forbidden,
        Frozen,
        InternalError,
        InvalidArguments,
        ProtocolError,
        RateLimited,
        ResourceNotFound,
        TimedOut,
        ToolError,
        ToolFailed,
        Unauthenticated,
        UpstreamError,
    )
    from .schema import Field
    from .server import Server
    from .testing import TestClient
    from .tool import Task

_HOME = {
    "API": "api",
    "connect": "api",
    "RateLimiter": "_core",
    "Redactor": "_core",
    "__version__": "_core",
    "Audio": "content",
    "Contents": "content",
    "EmbeddedResource": "content",
    "Icon": "content",
    "Image": "content",
    "Message": "content",
    "PromptResult": "content",
    "ResourceLink": "content",
    "Text": "content",
    "ToolResult": "content",
    "Answer": "context",
    "Client": "context",
    "Context": "context",
    "Principal": "context",
    "Root": "context",
    "Sample": "context",
    "ApprovalRequired": "exceptions",
    "BartizanError": "exceptions",
    "Cancelled": "exceptions",
    "ConfigError": "exceptions",
    "Declined": "exceptions",
    "Forbidden": "exceptions",
    "Frozen": "exceptions",
    "InternalError": "exceptions",
    "InvalidArguments": "exceptions",
    "ProtocolError": "exceptions",
    "RateLimited": "exceptions",
    "ResourceNotFound": "exceptions",
    "TimedOut": "exceptions",
    "ToolError": "exceptions",
    "ToolFailed": "exceptions",
    "Unauthenticated": "exceptions",
    "UpstreamError": "exceptions",
    "Field": "schema",
    "Server": "server",
    "TestClient": "testing",
    "Task": "tool",
    "logging": "",
}

__all__ = [
    "API",
    "Answer",
    "ApprovalRequired",
    "Audio",
    "BartizanError",
    "Cancelled",
    "Client",
    "ConfigError",
    "Contents",
    "Context",
    "Declined",
    "EmbeddedResource",
    "Field",
    "Forbidden",
    "Frozen",
    "Icon",
    "Image",
    "InternalError",
    "InvalidArguments",
    "Message",
    "Principal",
    "PromptResult",
    "ProtocolError",
    "RateLimited",
    "RateLimiter",
    "Redactor",
    "ResourceLink",
    "ResourceNotFound",
    "Root",
    "Sample",
    "Server",
    "Task",
    "TestClient",
    "Text",
    "TimedOut",
    "ToolError",
    "ToolFailed",
    "ToolResult",
    "Unauthenticated",
    "UpstreamError",
    "__version__",
    "connect",
    "logging",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    home = _HOME.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    # the import statement's own machinery: importlib is not loaded for it
    module = __import__(f"{__name__}.{home or name}", fromlist=["*"])
    value: object = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__]
