"""A stateless server, from outside: what the whole process leaves on the disk is nothing."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import Served, run

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory as a file system is Linux's")
CONFIG = """
stateless = true
profile = "development"
diagnostics = true
policy = { set = "admin" }
"""


class Fleeting(Served):
    """A server whose key is where it says, and nowhere else."""

    def _key(self) -> str:
        found = self.err.wait(lambda line: re.search(r"a key was made for it, in (\S+) \(0600\)", line))
        self.memory = Path(found[1]).parent
        return Path(found[1]).read_text(encoding="utf-8").strip()


def everything(folder: Path) -> set[str]:
    """Return what is in a folder, at any depth."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def written(pid: int) -> set[str]:
    """Return the files that a process has open for writing."""
    found = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        # one that was closed meanwhile is none
        with contextlib.suppress(FileNotFoundError):
            facts = Path(f"/proc/{pid}/fdinfo/{handle.name}").read_text(encoding="ascii")
            flags = int(re.findall(r"(?m)^flags:\s*([0-7]+)$", facts)[0], 8)
            target = str(handle.readlink())
            if flags & (os.O_WRONLY | os.O_RDWR) and target.startswith("/"):
                found.add(target)
    return found - {"/dev/null"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Mapping[str, str]]:
    """Return a home in which everything that a program could think of writing to would lie."""
    monkeypatch.delenv("BARTIZAN_STATE_DIR")
    folder = tmp_path / "home"
    (folder / "tmp").mkdir(parents=True)
    (folder / "bartizan.toml").write_text(CONFIG, encoding="utf-8")
    places = {"HOME": folder, "XDG_STATE_HOME": folder, "XDG_CACHE_HOME": folder, "TMPDIR": folder / "tmp"}
    return folder, {**{name: str(place) for name, place in places.items()}, "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_whole_process_leaves_nothing_on_the_disk(home: tuple[Path, Mapping[str, str]]) -> None:
    folder, env = home
    before = everything(folder)
    with Fleeting("--config", "bartizan.toml", env=env, cwd=folder) as served:
        for number in range(20):
            assert served.call("echo", {"message": f"number {number}"}).text == f"number {number}"
        assert served.call("no_such_tool").status in {200, 400}
        memory = served.memory
        assert memory.is_dir()
        assert not list(memory.glob("audit*"))
        opened = written(served.process.pid)
        assert all(path.startswith(str(memory)) for path in opened), opened
        code, _ = served.stop()
        assert code == 0
        said = served.said()
    assert "stateless: nothing is written to the disk, no audit is kept" in said
    assert "NOTHING IS AUDITED" in said
    assert not memory.exists()
    assert everything(folder) == before


def test_what_would_need_a_place_says_that_there_is_none(home: tuple[Path, Mapping[str, str]]) -> None:
    folder, env = home
    before = everything(folder)
    for words in (("key", "list"), ("approvals", "list"), ("freeze", "status"), ("audit", "verify")):
        done = run(*words, "--config", "bartizan.toml", env=env, cwd=folder)
        assert done.code != 0, words
        assert "stateless" in done.err, (words, done.err)
    done = run("doctor", "--config", "bartizan.toml", env=env, cwd=folder)
    assert "relaxed: stateless = true" in done.out
    (folder / "bartizan.toml").write_text(CONFIG.replace("development", "production"), encoding="utf-8")
    done = run("check", "--config", "bartizan.toml", env=env, cwd=folder)
    assert done.code != 0
    assert "development" in done.err
    assert everything(folder) == before
