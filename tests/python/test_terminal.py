"""What is typed at a terminal: the passphrase of an operator's key, never shown and never taken from a pipe."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from commands import PATIENCE, Served, approval, environment, program, run

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("there are no such terminals on Windows", allow_module_level=True)

import fcntl
import pty
import termios

PASSPHRASE = "a passphrase typed by hand"  # noqa: S105 - made up
TOOLS = """
from bartizan import Server
server = Server("own")

@server.tool
def make(name: str) -> str:
    return f"made {name}"
"""


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.shown = ""

        def own() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [program(), *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(),
            start_new_session=True,
            preexec_fn=own,  # noqa: PLW1509 - one system call, nothing else
        )
        os.close(slave)

    def until(self, text: str) -> None:
        """Read until `text` is shown; what was shown before is forgotten."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            self.read(deadline, text)
        self.shown = self.shown.split(text, 1)[1]

    def read(self, deadline: float, wanted: str) -> bool:
        """Read what comes next; False at the end."""
        with selectors.DefaultSelector() as ready:
            ready.register(self.master, selectors.EVENT_READ)
            found = ready.select(max(0.0, deadline - time.monotonic()))
        assert found, f"{wanted!r} did not come; what came is {self.shown!r}"
        try:
            piece = os.read(self.master, 4096)
        except OSError:  # the other side has closed
            piece = b""
        self.shown += piece.decode(errors="replace")
        assert piece or not wanted, f"it ended before {wanted!r}; what came is {self.shown!r}"
        return bool(piece)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.master, f"{line}\n".encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was shown since."""
        deadline = time.monotonic() + PATIENCE
        while self.read(deadline, ""):
            pass
        os.close(self.master)
        return self.process.wait(PATIENCE), self.shown


@pytest.fixture
def enrolled() -> str:
    """Enrol an operator at a terminal."""
    terminal = Terminal("approvals", "enrol", "ada")
    terminal.until("Passphrase for the new key: ")
    terminal.type(PASSPHRASE)
    terminal.until("The same again: ")
    terminal.type(PASSPHRASE)
    code, shown = terminal.end()
    assert code == 0, shown
    assert "may decide approvals" in shown
    assert PASSPHRASE not in shown
    return "ada"


def test_two_passphrases_that_differ_or_a_short_one_make_no_key(state: Path) -> None:
    for first, second, why in [
        (PASSPHRASE, PASSPHRASE + "!", "The two passphrases differ"),
        ("tooth", "tooth", "too short"),
    ]:
        terminal = Terminal("approvals", "enrol", "ada")
        terminal.until("Passphrase for the new key: ")
        terminal.type(first)
        terminal.until("The same again: ")
        terminal.type(second)
        code, shown = terminal.end()
        assert code == 2, shown
        assert why in shown
        assert first not in shown
        assert not list((state / "operators").iterdir())


def test_an_approval_is_given_with_a_passphrase_typed_at_a_terminal(enrolled: str, tmp_path: Path) -> None:
    tools = tmp_path / "own.py"
    tools.write_text(TOOLS)
    with Served("--tools", tools, "--policy", "standard") as served:
        waits = approval(served.call("make", {"name": "bridge"}))

        wrong = Terminal("approvals", "approve", waits)
        wrong.until(f"Passphrase of operator {enrolled}: ")
        wrong.type("not the right passphrase")
        code, shown = wrong.end()
        assert code != 0, shown
        assert "not the right passphrase" not in shown
        assert approval(served.call("make", {"name": "bridge"})) == waits

        right = Terminal("approvals", "approve", waits)
        right.until("bridge")  # it is shown before anything is asked
        right.until(f"Passphrase of operator {enrolled}: ")
        right.type(PASSPHRASE)
        code, shown = right.end()
        assert code == 0, shown
        assert "approved" in shown
        assert PASSPHRASE not in shown
        assert served.call("make", {"name": "bridge"}).text == "made bridge"
        served.stop()


def test_without_a_terminal_nothing_is_asked() -> None:
    done = run("approvals", "enrol", "ada", text=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert done.code == 2
    assert "--passphrase env:NAME or file:PATH" in done.err


def seen(lines: list[str]) -> list[list[bool]]:
    """Return the picture that half blocks draw: which dots are lit."""
    upper, lower = {"█", "▀"}, {"█", "▄"}
    rows = [[[char in half for char in line] for half in (upper, lower)] for line in lines]
    return [row for pair in rows for row in pair]


def test_the_picture_at_a_terminal_is_the_address_that_is_printed_too(enrolled: str) -> None:
    zxingcpp = pytest.importorskip("zxingcpp", reason="zxing-cpp is not installed")
    terminal = Terminal("approvals", "factor", "enrol", enrolled, "--show-uri")
    terminal.until(f"Passphrase of operator {enrolled}: ")
    terminal.type(PASSPHRASE)
    deadline = time.monotonic() + PATIENCE
    while "Scan this with an authenticator" not in terminal.shown:
        terminal.read(deadline, "Scan this")
    lines = terminal.shown.split("Scan this")[0].splitlines()
    uri = next(line for line in lines if line.startswith("otpauth://totp/"))
    drawn = seen([line for line in lines if line and set(line) <= set(" █▀▄")])
    assert len({len(row) for row in drawn}) == 1
    # a scanner that others wrote reads it off a screen whose characters are lit: dark modules are what is not
    scale = 4
    rows = [bytes(255 if dot else 0 for dot in row for _ in range(scale)) for row in drawn for _ in range(scale)]
    image = memoryview(b"".join(rows)).cast("B", shape=[len(rows), len(rows[0])])
    found = zxingcpp.read_barcodes(image, try_invert=False)
    assert [(one.format.name, one.text) for one in found] == [("QRCode", uri)]
    os.close(terminal.master)
    terminal.process.terminate()
    terminal.process.wait(PATIENCE)
