"""What may be depended on: the rules of cargo deny, tried on a small graph of crates made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = ROOT / ".cargo" / "deny.toml"
MANIFEST = """\
[package]
name = "{name}"
version = "1.0.0"
edition = "2021"
license = "{licence}"
publish = false

[dependencies]
{dependencies}
"""


def crate(folder: Path, name: str, licence: str, *needs: str) -> Path:
    """Write a crate that depends on its neighbours, and return its folder."""
    place = folder / name
    (place / "src").mkdir(parents=True)
    (place / "src" / "lib.rs").write_text("", encoding="utf-8")
    dependencies = "\n".join(f'{need} = {{ path = "../{need}", version = "1" }}' for need in needs)
    text = MANIFEST.format(name=name, licence=licence, dependencies=dependencies)
    (place / "Cargo.toml").write_text(text, encoding="utf-8")
    return place


def deny(place: Path, what: str) -> tuple[int, str]:
    """Judge a crate and what it needs by the project's own rules, without a network."""
    if not shutil.which("cargo-deny") or not shutil.which("cargo"):
        pytest.skip("cargo-deny is not installed; `nox -s lint` runs it where it is")
    command = ["cargo", "deny", "--offline", "--config", str(RULES), "--manifest-path", str(place / "Cargo.toml")]
    # rules of folders above are none of this crate's
    env = {**os.environ, "CARGO_TERM_COLOR": "never", "CARGO_NET_OFFLINE": "true"}
    for name in ("CARGO_TARGET_DIR", "RUSTFLAGS"):
        env.pop(name, None)
    done = subprocess.run(
        [*command, "check", what],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0-or-later", "SSPL-1.0", "BUSL-1.1", "LicenseRef-ours"])
def test_a_dependency_with_a_licence_that_is_not_listed_fails(tmp_path: Path, licence: str) -> None:
    crate(tmp_path, "deep", licence)
    crate(tmp_path, "between", "MIT", "deep")
    code, said = deny(crate(tmp_path, "whole", "Apache-2.0", "between"), "licenses")
    assert code != 0, said
    assert "deep" in said, said
    assert "rejected" in said, said


def test_the_same_graph_with_listed_licences_passes(tmp_path: Path) -> None:
    crate(tmp_path, "deep", "MIT OR GPL-3.0-only")
    crate(tmp_path, "between", "BSD-3-Clause", "deep")
    code, said = deny(crate(tmp_path, "whole", "Apache-2.0", "between"), "licenses")
    assert code == 0, said


def test_a_dependency_that_says_no_licence_fails(tmp_path: Path) -> None:
    nameless = crate(tmp_path, "deep", "MIT") / "Cargo.toml"
    nameless.write_text(nameless.read_text(encoding="utf-8").replace('license = "MIT"\n', ""), encoding="utf-8")
    code, said = deny(crate(tmp_path, "whole", "Apache-2.0", "deep"), "licenses")
    assert code != 0, said
    assert "unlicensed" in said, said


def test_a_banned_crate_fails(tmp_path: Path) -> None:
    crate(tmp_path, "openssl-sys", "MIT")
    code, said = deny(crate(tmp_path, "whole", "Apache-2.0", "openssl-sys"), "bans")
    assert code != 0, said
    assert "TLS is rustls" in said, said
