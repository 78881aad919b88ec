"""Every exception, one class per kind of failure, under one base.

Owns the classes that the compiled core raises; ``_core.ERROR_KINDS`` maps each kind to one of them.
The idea: they are ordinary Python classes, so they pickle, subclass and document like any other.
Must not: import anything of ours.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ApprovalRequired",
    "BartizanError",
    "Cancelled",
    "ConfigError",
    "Declined",
    "Forbidden",
    "Frozen",
    "InternalError",
    "InvalidArguments",
    "ProtocolError",
    "RateLimited",
    "ResourceNotFound",
    "TimedOut",
    "ToolError",
    "ToolFailed",
    "Unauthenticated",
    "UpstreamError",
]


class BartizanError(Exception):
    """Base of all: a sentence, the kind, structured detail, and when to come back if that is known."""

    kind: str = "Internal"
    detail: Any = None
    retry_after: float | None = None
    _ours: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        kind: str | None = None,
        detail: object = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep the sentence; the rest is for programs."""
        super().__init__(message)
        if kind is not None:
            self.kind = kind
        self.detail = detail
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the attributes."""
        return (type(self), self.args, {**self.__dict__})


class ProtocolError(BartizanError):
    """A message that is not a proper request, or names something that is not offered."""

    kind = "BadRequest"


class Unauthenticated(BartizanError):
    """No credential, or one that is not accepted."""

    kind = "Unauthenticated"


class InvalidArguments(BartizanError):
    """Arguments that do not fit the schema."""

    kind = "BadArguments"


class RateLimited(BartizanError):
    """Over quota; ``retry_after`` says in how many seconds to come back."""

    kind = "RateLimited"


class Forbidden(BartizanError):
    """Policy forbids the call."""

    kind = "Forbidden"


class ApprovalRequired(BartizanError):
    """A person has to agree first; ``detail["approval"]`` is the id to approve."""

    kind = "NeedsApproval"


class Declined(BartizanError):
    """A person said no."""

    kind = "Declined"


class Frozen(BartizanError):
    """An operator has frozen writes, or everything."""

    kind = "Frozen"


class UpstreamError(BartizanError):
    """The upstream refused, failed, or could not be reached."""

    kind = "UpstreamFailed"


class TimedOut(BartizanError):
    """The deadline passed."""

    kind = "TimedOut"


class Cancelled(BartizanError):
    """The caller went away or cancelled."""

    kind = "Cancelled"


class ToolFailed(BartizanError):
    """A tool failed unexpectedly; an id leads to the log."""

    kind = "ToolFailed"


class ConfigError(BartizanError):
    """The configuration, a document, a signature or a command line is wrong."""

    kind = "BadConfig"


class InternalError(BartizanError):
    """Our own fault; an id leads to the log."""

    kind = "Internal"


class ToolError(Exception):
    """Raise this in a tool: the caller reads its words (redacted) as a failed result."""


class ResourceNotFound(Exception):
    """Raise this in a resource function: there is nothing at the address."""
