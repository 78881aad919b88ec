"""What a release has beside its wheel: each piece, and that what does not fit together is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import release

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SUM = "ab" * 32
LOCK = f"""version = 4

[[package]]
name = "bartizan"
version = "1.2.0"
dependencies = [
 "needed",
]

[[package]]
name = "needed"
version = "0.3.1"
source = "{release.REGISTRY}"
checksum = "{SUM}"

[[package]]
name = "builds"
version = "2.0.0+meta"
source = "{release.REGISTRY}"
checksum = "{"cd" * 32}"

[[package]]
name = "tests"
version = "9.0.0"
source = "{release.REGISTRY}"
checksum = "{"ef" * 32}"
"""
CHANGELOG = "# Changelog\n\nWords.\n\n## 1.2.0 (2026-11-22)\n\n- Do more.\n\n## 1.1.0 (2026-01-01)\n\n- Do less.\n"


def package(name: str, version: str, licence: str = "MIT/Apache-2.0") -> dict[str, Any]:
    """Return a package as cargo describes it."""
    return {
        "id": name,
        "name": name,
        "version": version,
        "license": licence,
        "repository": "https://example.com/" + name,
    }


def edge(name: str, *kinds: str | None) -> dict[str, Any]:
    """Return an edge as cargo describes it."""
    return {"pkg": name, "dep_kinds": [{"kind": kind} for kind in kinds]}


METADATA = {
    "packages": [
        package("bartizan", "1.2.0", "Apache-2.0"),
        package("needed", "0.3.1"),
        package("builds", "2.0.0+meta"),
        package("tests", "9.0.0"),
    ],
    "resolve": {
        "root": "bartizan",
        "nodes": [
            {
                "id": "bartizan",
                "dependencies": ["needed", "tests"],
                "deps": [edge("needed", None), edge("tests", "dev")],
            },
            {"id": "needed", "dependencies": ["builds"], "deps": [edge("builds", "build")]},
            {"id": "builds", "dependencies": [], "deps": []},
            {"id": "tests", "dependencies": [], "deps": []},
        ],
    },
}


def refusal(act: Callable[[], object]) -> str:
    """Return why something is refused."""
    with pytest.raises(release.Refused) as found:
        act()
    return str(found.value)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return what names a version, and agrees."""
    folder = tmp_path / "tree"
    (folder / "src" / "cli").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[package]\nname = "bartizan"\nversion = "1.2.0"\n', encoding="utf-8")
    (folder / "Cargo.lock").write_text(LOCK, encoding="utf-8")
    (folder / "pyproject.toml").write_text('[project]\ndynamic = ["version"]\n', encoding="utf-8")
    (folder / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    (folder / "src/cli/version.rs").write_text("const RELEASED: u64 = 1_795_305_600;\n", encoding="utf-8")
    return folder


def test_this_repository_agrees_on_its_version() -> None:
    version = release.agree(ROOT, rehearsal=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    lock = release.locked((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    assert len(lock) > 200
    assert all(one.checksum for one in lock if one.name != "bartizan")


@pytest.mark.parametrize(
    "file, before, after, word",
    [
        ("Cargo.toml", "1.2.0", "1.3.0", "Cargo.lock"),
        ("Cargo.lock", 'version = "1.2.0"', 'version = "1.1.9"', "Cargo.lock"),
        ("pyproject.toml", 'dynamic = ["version"]', 'version = "1.2.0"', "pyproject.toml"),
        ("CHANGELOG.md", "## 1.2.0 (", "## 1.2.1 (", "CHANGELOG.md"),
        ("CHANGELOG.md", "## 1.2.0 (2026-11-22)", "## Unreleased", "CHANGELOG.md"),
        ("CHANGELOG.md", "- Do more.\n", "", "empty"),
        ("CHANGELOG.md", "2026-11-22", "2026-11-21", "version.rs"),
        ("src/cli/version.rs", "1_795_305_600", "1_795_392_000", "version.rs"),
    ],
)
def test_a_version_that_one_file_does_not_name_is_refused(
    tree: Path, file: str, before: str, after: str, word: str
) -> None:
    assert release.agree(tree) == "1.2.0"
    path = tree / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    assert word in refusal(lambda: release.agree(tree))


def test_what_is_not_pinned_is_refused() -> None:
    loose = LOCK.replace(f'checksum = "{SUM}"\n', "")
    assert "needed 0.3.1" in refusal(lambda: release.locked(loose))
    elsewhere = LOCK.replace(release.REGISTRY, "git+https://example.com/needed", 1)
    assert "needed 0.3.1" in refusal(lambda: release.locked(elsewhere))


def test_notes_are_the_newest_section_and_nothing_else() -> None:
    assert release.notes(CHANGELOG, "1.2.0") == ("2026-11-22", "- Do more.")
    coming = CHANGELOG.replace("1.2.0 (2026-11-22)", "Unreleased")
    assert release.notes(coming, "1.2.0", rehearsal=True) == ("Unreleased", "- Do more.")


def test_the_bill_names_what_runs_and_what_builds_and_not_what_only_tests() -> None:
    lock = release.locked(LOCK)
    made = release.bill(METADATA, lock, [("maturin", "1.16.0")], epoch=1_795_305_600)
    parts = {one["purl"]: one for one in made["components"]}
    assert {name: one["scope"] for name, one in parts.items()} == {
        "pkg:cargo/needed@0.3.1": "required",
        "pkg:cargo/builds@2.0.0%2Bmeta": "excluded",
        "pkg:pypi/maturin@1.16.0": "excluded",
    }
    needed = parts["pkg:cargo/needed@0.3.1"]
    assert needed["hashes"] == [{"alg": "SHA-256", "content": SUM}]
    assert needed["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    edges = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    assert edges["pkg:pypi/bartizan@1.2.0"] == ["pkg:cargo/needed@0.3.1", "pkg:pypi/maturin@1.16.0"]
    assert edges["pkg:cargo/needed@0.3.1"] == ["pkg:cargo/builds@2.0.0%2Bmeta"]
    again = release.bill(METADATA, lock, [("maturin", "1.16.0")], epoch=1_795_305_600)
    assert again == made, "the same commit gives the same bill"
    other = LOCK.replace('"0.3.1"', '"0.3.2"')
    assert "needed" in refusal(lambda: release.bill(METADATA, release.locked(other), [], epoch=0))


def test_the_bill_of_this_repository_is_what_the_standard_says_and_is_whole() -> None:
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo to ask what was resolved")
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        pytest.skip("cargo cannot say what was resolved without a network")
    metadata = json.loads(done.stdout)
    lock = release.locked((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    made = release.bill(metadata, lock, [("maturin", "1.16.0")], epoch=0)
    names = {one["name"]: one["scope"] for one in made["components"]}
    assert {"cedar-policy", "rustls", "pyo3", "redis", "tokio"} <= {name for name in names if names[name] == "required"}
    assert not {"proptest", "insta", "rcgen"} & names.keys(), "what only tests is in no wheel"
    assert all(one.get("hashes") for one in made["components"] if one["purl"].startswith("pkg:cargo/"))
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(made)) is None


def wheel(folder: Path, version: str = "1.2.0", requires: str = "") -> Path:
    """Return a wheel of a kind."""
    path = folder / "bartizan-1.2.0-cp310-abi3-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"bartizan-{version}.dist-info/METADATA", f"Name: bartizan\nVersion: {version}\n{requires}")
    return path


def source(folder: Path, lock: str = LOCK) -> Path:
    """Return a source archive of a kind."""
    path = folder / "bartizan-1.2.0.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for name, text in (("PKG-INFO", "Version: 1.2.0\n"), ("Cargo.lock", lock)):
            entry = tarfile.TarInfo(f"bartizan-1.2.0/{name}")
            entry.size = len(text.encode())
            made.addfile(entry, io.BytesIO(text.encode()))
    return path


BUILD = release.Build("urn:test", {"rustc": "1.95"}, "dist", 1_795_305_600, 1_795_305_700)
COMMIT = release.Source("https://example.com/repo", "0" * 40, changed=False)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return a release that was made by hand, whole."""
    folder = tmp_path / "dist"
    folder.mkdir()
    return finished(folder, [wheel(folder), source(folder)])


def finished(folder: Path, artifacts: list[Path]) -> Path:
    """Write what belongs beside the artifacts."""
    lock = folder.parent / "Cargo.lock"
    lock.write_text(LOCK, encoding="utf-8")
    bom = release.bill(METADATA, release.locked(LOCK), [("maturin", "1.16.0")], epoch=0)
    (folder / release.BILL).write_text(json.dumps(bom), encoding="utf-8")
    statement = release.provenance([*artifacts, folder / release.BILL], COMMIT, lock, BUILD)
    (folder / release.ORIGIN).write_text(json.dumps(statement), encoding="utf-8")
    (folder / release.NOTES).write_text("# bartizan 1.2.0\n", encoding="utf-8")
    (folder / release.SUMS).write_text(release.sums(folder), encoding="ascii")
    return folder


def test_provenance_names_the_commit_the_materials_and_what_was_made(made: Path) -> None:
    statement = json.loads((made / release.ORIGIN).read_text(encoding="utf-8"))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    whl = next(made.glob("*.whl"))
    assert subjects[whl.name] == hashlib.sha256(whl.read_bytes()).hexdigest()
    assert len(subjects) == 3
    definition = statement["predicate"]["buildDefinition"]
    first, lock, *crates = definition["resolvedDependencies"]
    assert first == {"uri": COMMIT.uri, "digest": {"gitCommit": COMMIT.commit}}
    assert lock["digest"]["sha256"] == hashlib.sha256(LOCK.encode()).hexdigest()
    assert {"uri": "pkg:cargo/needed@0.3.1", "digest": {"sha256": SUM}} in crates
    run = statement["predicate"]["runDetails"]
    assert run["builder"] == {"id": "urn:test", "version": {"rustc": "1.95"}}
    assert run["metadata"]["startedOn"] == "2026-11-22T00:00:00Z"
    changed = dataclasses.replace(COMMIT, changed=True)
    told = release.provenance([whl], changed, made.parent / "Cargo.lock", BUILD)
    assert "annotations" in told["predicate"]["buildDefinition"]["resolvedDependencies"][0]


def test_a_whole_release_verifies_also_for_whoever_has_only_its_files(made: Path) -> None:
    assert len(release.verify(made)) == 2
    program = ROOT / "deploy" / "release.py"
    done = subprocess.run(
        [sys.executable, str(program), "verify", str(made)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", release.SUMS]
        assert subprocess.run(command, cwd=made, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["*.whl", "*.tar.gz", release.BILL, release.ORIGIN, release.NOTES])
def test_one_changed_byte_is_named(made: Path, name: str) -> None:
    path = next(made.glob(name))
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(bytes(found))
    assert path.name in refusal(lambda: release.verify(made))


def test_files_that_came_or_went_are_named(made: Path) -> None:
    (made / "more.whl").write_bytes(b"")
    assert "more.whl" in refusal(lambda: release.verify(made))
    (made / "more.whl").unlink()
    (made / release.BILL).unlink()
    assert release.BILL in refusal(lambda: release.verify(made))


def test_sums_that_were_made_anew_do_not_help_what_was_exchanged(made: Path) -> None:
    def again() -> str:
        (made / release.SUMS).write_text(release.sums(made), encoding="ascii")
        return refusal(lambda: release.verify(made))

    kept = {path: path.read_bytes() for path in made.iterdir()}
    wheel(made, requires="Requires-Dist: evil\n")
    assert "does not speak of this" in again()
    for path, content in kept.items():
        path.write_bytes(content)
    bom = json.loads((made / release.BILL).read_text(encoding="utf-8"))
    bom["components"][0]["hashes"] = [{"alg": "SHA-256", "content": "0" * 64}]
    (made / release.BILL).write_text(json.dumps(bom), encoding="utf-8")
    assert release.BILL in again()


def test_an_artifact_of_another_version_or_another_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    one = finished(tmp_path / "one", [wheel(tmp_path / "one", "1.1.9"), source(tmp_path / "one")])
    assert "1.1.9" in refusal(lambda: release.verify(one))
    (tmp_path / "two").mkdir()
    other = source(tmp_path / "two", LOCK.replace("9.0.0", "9.0.1"))
    two = finished(tmp_path / "two", [wheel(tmp_path / "two"), other])
    assert "another Cargo.lock" in refusal(lambda: release.verify(two))


def test_what_a_wheel_requires_is_read(tmp_path: Path) -> None:
    assert release.required(wheel(tmp_path)) == []
    assert release.required(wheel(tmp_path, requires="Requires-Dist: some-thing >=1\n")) == ["some-thing"]


HOLE = json.dumps(
    {
        "type": "diagnostic",
        "fields": {
            "severity": "error",
            "message": "it can be made to crash",
            "advisory": {"id": "RUSTSEC-2026-0001", "package": "needed"},
        },
    }
)
UNREACHED = json.dumps({"type": "log", "fields": {"level": "ERROR", "message": "failed to fetch"}})
PYTHON_HOLE = json.dumps({"dependencies": [{"name": "pkg", "version": "1", "vulns": [{"id": "PYSEC-2026-1"}]}]})
PYTHON_FINE = json.dumps({"dependencies": [{"name": "pkg", "version": "1", "vulns": []}]})


def scanners(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cargo: tuple[str, int], python: tuple[str, int] | None
) -> None:
    """Put programs into the way of the scanners that say this."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "cargo"
    (folder / "said").write_text(cargo[0] + "\n", encoding="utf-8")
    program.write_text(f"#!/bin/sh\ncat '{folder}/said' >&2\nexit {cargo[1]}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    text, code = python or ("no network", 1)
    (folder / "pip_audit.py").write_text(f"print({text!r})\nraise SystemExit({code})\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_known_hole_stops_a_release_whatever_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanners(tmp_path, monkeypatch, (HOLE, 1), (PYTHON_HOLE, 1))
    for unscanned in (False, True):
        said = refusal(lambda: release.scan(unscanned=unscanned))  # noqa: B023 - called at once
        assert "RUSTSEC-2026-0001 needed it can be made to crash" in said
        assert "PYSEC-2026-1 pkg 1" in said


def test_a_database_that_is_not_at_hand_stops_a_release_unless_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanners(tmp_path, monkeypatch, (UNREACHED, 1), None)
    said = refusal(lambda: release.scan(unscanned=False))
    assert "--unscanned" in said
    assert "crates" in said
    assert "Python" in said
    assert len(release.scan(unscanned=True)) == 2, "and what was not looked up is told"


def test_where_nothing_is_known_a_release_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned = json.dumps({"type": "diagnostic", "fields": {"severity": "warning", "message": "unmaintained"}})
    scanners(tmp_path, monkeypatch, (warned, 0), (PYTHON_FINE, 0))
    assert release.scan(unscanned=False) == []


def test_the_command_says_what_is_wrong_and_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["agree", "--rehearse"]) == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert release.main(["verify", str(ROOT / "docs")]) == 1
    assert release.SUMS in capsys.readouterr().err
