"""A filter for the standard logging module that redacts what is logged.

Owns :class:`RedactingFilter`. The idea: attach it to a handler, and no known secret passes it.
Must not: configure logging.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ._core import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class RedactingFilter(logging.Filter):
    """``handler.addFilter(RedactingFilter())``: message, arguments, extras and tracebacks are redacted."""

    def __init__(self, redactor: Redactor | None = None, name: str = "") -> None:
        """Use a redactor of one's own, or one with the built-in rules."""
        super().__init__(name)
        self.redactor = redactor if redactor is not None else Redactor()

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; nothing is dropped."""
        if not super().filter(record):
            return False
        text = self.redactor.text
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = str(record.msg)
        record.msg = text(message)
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = text(record.exc_text)
            record.exc_info = None
        if record.stack_info:
            record.stack_info = text(record.stack_info)
        self._extras(vars(record))
        return True

    def _extras(self, items: dict[str, object]) -> None:
        extras: Mapping[str, object] = {key: value for key, value in items.items() if key not in _STANDARD}
        for key, value in extras.items():
            if isinstance(value, (str, dict, list)):
                items[key] = self.redactor.data({key: value})[key]
