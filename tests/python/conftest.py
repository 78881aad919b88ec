"""What the tests share: a state directory of their own, a server per test, in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from bartizan import Server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep state, audit and keys out of the user's home."""
    folder = tmp_path / "state"
    monkeypatch.setenv("BARTIZAN_STATE_DIR", str(folder))
    for name in list(os.environ):
        if name.startswith("EQUINIX_"):
            monkeypatch.delenv(name)
    return folder


@pytest.fixture
def server() -> Server:
    """Return a server that allows everything."""
    return Server("test", version="1.2.3", policy="admin", instructions="For tests.")
