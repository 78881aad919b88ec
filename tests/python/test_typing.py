"""typing_ok.py runs as it was type-checked."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_what_is_typed_runs() -> None:
    runpy.run_path(str(Path(__file__).parent / "typing_ok.py"), run_name="__main__")
