"""The bartizan command: arguments to the core, exit code back.

Must not: decide anything.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` wraps it in enums that every start would wait for
import sys

from . import _core


def main() -> int:
    """Run the command line and return its exit code."""
    # The core hears signals itself; Python's own handler would raise in the midst of closing.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    code = _core.main(sys.argv)
    _core.leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
