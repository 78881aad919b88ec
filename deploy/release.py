"""What a release has beside its wheel: a bill of materials, sums, where it comes from, and what changed.

Owns each of these pieces and their check. The idea: a piece is made of what is in the repository or was built from
it, by the standard library alone, so that it can be made without a network, and whoever has the files can check them
with ``python release.py verify FOLDER``. `nox -s release` runs the steps in order.
Must not: build anything, or call a release good that was not looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import urllib.parse
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
BILL = "bartizan.cdx.json"
SUMS = "SHA256SUMS"
ORIGIN = "provenance.intoto.json"
NOTES = "NOTES.md"
BUILD_TYPE = "https://slsa.dev/provenance/v1#bartizan-nox-release"
IN_TOTO = "https://in-toto.io/Statement/v1"
SLSA = "https://slsa.dev/provenance/v1"
NAMES = uuid.UUID("5f0d3f5c-1f0e-5f53-9d63-0a2f6a1f9f11")


class Refused(Exception):
    """Something is not as a release has to be; the text says what, and what to do."""


@dataclasses.dataclass(frozen=True)
class Locked:
    """A package of Cargo.lock."""

    name: str
    version: str
    source: str | None
    checksum: str | None


def locked(text: str) -> list[Locked]:
    """Read Cargo.lock. What comes from a registry without a checksum is refused: it is not pinned."""
    found = []
    for block in text.split("[[package]]")[1:]:
        own = dict(re.findall(r'(?m)^(name|version|source|checksum) = "([^"]*)"$', block))
        package = Locked(own["name"], own["version"], own.get("source"), own.get("checksum"))
        if package.source is not None and (package.source != REGISTRY or package.checksum is None):
            message = f"{package.name} {package.version} in Cargo.lock is not pinned by a checksum of the registry."
            raise Refused(message)
        found.append(package)
    return found


def _first(pattern: str, text: str, where: str) -> str:
    found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    if found is None:
        message = f"{where} does not say which version it is."
        raise Refused(message)
    return found[1]


def notes(changelog: str, version: str, *, rehearsal: bool = False) -> tuple[str, str]:
    """Return the day and the text of a version's section, which has to be the newest one."""
    heading, _, rest = changelog.partition("\n## ")[2].partition("\n")
    text = rest.partition("\n## ")[0].strip()
    if rehearsal and heading.strip() == "Unreleased":
        return "Unreleased", text
    found = re.fullmatch(r"(\S+) \((\d{4}-\d{2}-\d{2})\)", heading.strip())
    if found is None or found[1] != version:
        message = (
            f"The top section of CHANGELOG.md is `{heading.strip()}`; for a release it is `{version} (YYYY-MM-DD)`."
        )
        raise Refused(message)
    if not text:
        message = "The top section of CHANGELOG.md is empty; say what changes for those who use it."
        raise Refused(message)
    return found[2], text


def agree(root: Path, *, rehearsal: bool = False) -> str:
    """Return the version, if everything that names one names the same."""
    read = {name: (root / name).read_text(encoding="utf-8") for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml")}
    version = _first(r'^\[package\].*?^version = "([^"]+)"', read["Cargo.toml"], "Cargo.toml")
    own = [package for package in locked(read["Cargo.lock"]) if package.name == "bartizan"]
    if [package.version for package in own] != [version]:
        message = f"Cargo.toml says {version} and Cargo.lock does not; run `cargo update --workspace`."
        raise Refused(message)
    # the wheel takes its version from Cargo.toml, unless pyproject.toml says another
    if not re.search(r'(?m)^dynamic = \["version"\]$', read["pyproject.toml"]):
        message = 'pyproject.toml has a version of its own; it has to say `dynamic = ["version"]`.'
        raise Refused(message)
    day, _ = notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version, rehearsal=rehearsal)
    told = (root / "src" / "cli" / "version.rs").read_text(encoding="utf-8")
    seconds = int(_first(r"^const RELEASED: u64 = ([\d_]+);", told, "src/cli/version.rs").replace("_", ""))
    released = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).date().isoformat()
    if day not in {released, "Unreleased"}:
        message = (
            f"CHANGELOG.md says {day} and src/cli/version.rs counts from {released}; both name the day of the release."
        )
        raise Refused(message)
    return version


def advisories(told: str, code: int) -> list[str]:
    """Return the holes that `cargo deny --format json check advisories` found. Refuse if it could not look."""
    found = []
    for line in filter(None, told.splitlines()):
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue
        fields = said.get("fields", {})
        if said.get("type") == "diagnostic" and fields.get("severity") == "error":
            advisory = fields.get("advisory") or {}
            found.append(" ".join(filter(None, (advisory.get("id"), advisory.get("package"), fields.get("message")))))
    if not found and code != 0:
        message = "The crates could not be looked up in the advisory database."
        raise Refused(message)
    return found


def audited(told: str, code: int) -> list[str]:
    """Return the holes that `pip-audit --format json` found. Refuse if it could not look."""
    try:
        packages = json.loads(told)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        packages = None
    if packages is None or (code != 0 and not any(one.get("vulns") for one in packages)):
        message = "The Python packages could not be looked up for known holes."
        raise Refused(message)
    return [f"{hole['id']} {one['name']} {one['version']}" for one in packages for hole in one.get("vulns", [])]


def _look(command: tuple[str, ...], stream: str, read: Callable[[str, int], list[str]]) -> tuple[list[str], list[str]]:
    """Run a scanner. Return what it found, and why it could not look."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return read(getattr(done, stream), done.returncode), []
    except FileNotFoundError:
        return [], [f"`{command[0]}` is not installed."]
    except Refused as refused:
        return [], [str(refused)]


def scan(*, unscanned: bool) -> list[str]:
    """Look for known holes in what a release is made of and built with. Return what could not be looked up."""
    looks = (
        (("cargo", "deny", "--format", "json", "check", "advisories"), "stderr", advisories),
        (
            (sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"),
            "stdout",
            audited,
        ),
    )
    holes: list[str] = []
    missed: list[str] = []
    for command, stream, read in looks:
        found, reason = _look(command, stream, read)
        holes += found
        missed += reason
    if holes:
        message = "Known holes, which no release may have: " + "; ".join(holes)
        raise Refused(message)
    if missed and not unscanned:
        message = " ".join(missed) + " Try again with a network, or say --unscanned, and the release will say so too."
        raise Refused(message)
    return missed


def _closure(metadata: JSON, root: str, kinds: set[str | None]) -> set[str]:
    """Return the ids that a package reaches over edges of some kinds (nothing: to run; `build`; `dev`)."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found: set[str] = set()
    left = [root]
    while left:
        for edge in nodes[left.pop()]["deps"]:
            if edge["pkg"] not in found and any(kind["kind"] in kinds for kind in edge["dep_kinds"]):
                found.add(edge["pkg"])
                left.append(edge["pkg"])
    return found


def _component(package: JSON, checksum: str | None, scope: str) -> JSON:
    purl = f"pkg:cargo/{package['name']}@{urllib.parse.quote(package['version'], safe='')}"
    found: JSON = {
        "type": "library",
        "bom-ref": purl,
        "name": package["name"],
        "version": package["version"],
        "scope": scope,
        "purl": purl,
    }
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("license"):
        # old manifests write `MIT/Apache-2.0`, which is no SPDX expression
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if str(package.get("repository") or "").startswith("https://"):
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def bill(metadata: JSON, lock: list[Locked], python: list[tuple[str, str]], *, epoch: int) -> JSON:
    """Return the bill of materials (CycloneDX 1.6): what the wheel is made of, and what only builds it (`excluded`).

    `python` names packages and versions: those that the wheel requires to run (none so far), and its build backend.
    """
    checksums = {(package.name, package.version): package.checksum for package in lock}
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    own = packages[root]
    runs, all_of_it = _closure(metadata, root, {None}), _closure(metadata, root, {None, "build"})
    if missing := [name for name in all_of_it if (packages[name]["name"], packages[name]["version"]) not in checksums]:
        message = f"Cargo.lock does not name {', '.join(sorted(missing))}; it is not the one that was resolved."
        raise Refused(message)
    components = []
    for name in all_of_it:
        package = packages[name]
        scope = "required" if name in runs else "excluded"
        components.append(_component(package, checksums[package["name"], package["version"]], scope))
    for name, version in python:
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{urllib.parse.quote(version, safe='')}"
        scope = "excluded" if name == "maturin" else "required"
        components.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": version, "scope": scope, "purl": purl}
        )
    components.sort(key=lambda one: str(one["bom-ref"]))
    refs = {name: _component(packages[name], None, "")["bom-ref"] for name in all_of_it}
    refs[root] = f"pkg:pypi/bartizan@{own['version']}"
    tree = []
    for node in metadata["resolve"]["nodes"]:
        if node["id"] in refs:
            needs = sorted({refs[one] for one in node["dependencies"] if one in refs})
            if node["id"] == root:
                needs += [one["bom-ref"] for one in components if str(one["purl"]).startswith("pkg:pypi/")]
            tree.append({"ref": refs[node["id"]], "dependsOn": needs})
    tree.sort(key=lambda one: str(one["ref"]))
    body = json.dumps([components, tree], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMES, body)}",
        "version": 1,
        "metadata": {
            "timestamp": _moment(epoch),
            "component": {
                "type": "application",
                "bom-ref": refs[root],
                "name": "bartizan",
                "version": own["version"],
                "purl": refs[root],
                "licenses": [{"expression": own["license"]}],
            },
        },
        "components": components,
        "dependencies": tree,
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def sums(folder: Path) -> str:
    """Return the sums of all files of a release but themselves, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    return "".join(f"{digest(path)}  {path.name}\n" for path in files)


def _moment(epoch: int) -> str:
    return datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclasses.dataclass(frozen=True)
class Source:
    """What was built."""

    uri: str
    commit: str
    changed: bool


@dataclasses.dataclass(frozen=True)
class Build:
    """Who built it, with what, and when."""

    builder: str
    tools: dict[str, str]
    profile: str
    began: int
    ended: int
    missed: tuple[str, ...] = ()


def provenance(artifacts: list[Path], source: Source, lock: Path, build: Build) -> JSON:
    """Return an in-toto statement with SLSA's provenance: what, from which commit and materials, built by whom."""
    crates = [
        {"uri": f"pkg:cargo/{one.name}@{urllib.parse.quote(one.version, safe='')}", "digest": {"sha256": one.checksum}}
        for one in locked(lock.read_text(encoding="utf-8"))
        if one.checksum
    ]
    commit: JSON = {"uri": source.uri, "digest": {"gitCommit": source.commit}}
    if source.changed:
        commit["annotations"] = {"changed": "the work tree differed from the commit"}
    return {
        "_type": IN_TOTO,
        "subject": [{"name": path.name, "digest": {"sha256": digest(path)}} for path in artifacts],
        "predicateType": SLSA,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"source": source.uri, "profile": build.profile},
                "internalParameters": {"not_scanned": list(build.missed)},
                "resolvedDependencies": [
                    commit,
                    {"uri": "file:Cargo.lock", "digest": {"sha256": digest(lock)}},
                    *crates,
                ],
            },
            "runDetails": {
                "builder": {"id": build.builder, "version": build.tools},
                "metadata": {
                    "invocationId": f"urn:uuid:{uuid.uuid4()}",
                    "startedOn": _moment(build.began),
                    "finishedOn": _moment(build.ended),
                },
            },
        },
    }


def verify(folder: Path) -> list[str]:
    """Return what was checked of a release's files. Refuse with what does not fit together."""
    _summed(folder)
    statement = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    if (statement.get("_type"), statement.get("predicateType")) != (IN_TOTO, SLSA):
        message = f"{ORIGIN} is no provenance statement."
        raise Refused(message)
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    built = [path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz"))]
    for path in [*built, folder / BILL]:
        if subjects.get(path.name) != digest(path):
            message = f"{ORIGIN} does not speak of this {path.name}."
            raise Refused(message)
    materials = {one["uri"]: one["digest"] for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    bom = json.loads((folder / BILL).read_text(encoding="utf-8"))
    for one in bom["components"]:
        content = {kind["alg"]: kind["content"] for kind in one.get("hashes", [])}.get("SHA-256")
        if one["purl"].startswith("pkg:cargo/") and materials.get(one["purl"], {}).get("sha256") != content:
            message = f"{BILL} names {one['purl']}, and {ORIGIN} does not name the same."
            raise Refused(message)
    version = bom["metadata"]["component"]["version"]
    for path in built:
        _fits(path, version, materials["file:Cargo.lock"]["sha256"])
    return [
        f"{len(subjects)} files are what {ORIGIN} says",
        f"{len(bom['components'])} parts of bartizan {version} are named",
    ]


def _summed(folder: Path) -> None:
    """Refuse a folder whose files are not those that its sums name."""
    if missing := [name for name in (SUMS, BILL, ORIGIN, NOTES) if not (folder / name).is_file()]:
        message = f"A release has {', '.join(missing)}, too; it is not in {folder}."
        raise Refused(message)
    said = (folder / SUMS).read_text(encoding="ascii")
    if said == sums(folder):
        return
    listed = {line.partition("  ")[2]: line.partition("  ")[0] for line in said.splitlines()}
    there = {line.partition("  ")[2]: line.partition("  ")[0] for line in sums(folder).splitlines()}
    wrong = sorted(name for name in listed.keys() | there.keys() if listed.get(name) != there.get(name))
    message = f"{', '.join(wrong) or SUMS}: not what {SUMS} says."
    raise Refused(message)


def _fits(path: Path, version: str, lock: str) -> None:
    """Refuse an artifact that is of another version or another Cargo.lock."""
    found, held = contents(path)
    if found != version:
        message = f"{path.name} says it is {found}, and {BILL} that it is {version}."
        raise Refused(message)
    if held is not None and hashlib.sha256(held).hexdigest() != lock:
        message = f"{path.name} has another Cargo.lock than the one it was built from."
        raise Refused(message)


def contents(path: Path) -> tuple[str, bytes | None]:
    """Return the version that an artifact says of itself, and the Cargo.lock that it holds, if it is source."""
    lock = None
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            name = next((name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")), None)
            metadata = wheel.read(name) if name else b""
    else:
        with tarfile.open(path) as source:
            files = {name.partition("/")[2]: name for name in source.getnames()}
            read = {name: source.extractfile(files[name]) for name in ("PKG-INFO", "Cargo.lock") if name in files}
            metadata, lock = (file.read() if (file := read.get(name)) else b"" for name in ("PKG-INFO", "Cargo.lock"))
    return _first(r"^Version: (\S+)", metadata.decode(), path.name), lock


def required(wheel: Path) -> list[str]:
    """Return what a wheel requires of Python to run."""
    with zipfile.ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return re.findall(r"(?m)^Requires-Dist: ([\w.-]+)", opened.read(name).decode())


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def _source(uri: str | None, *, rehearsal: bool) -> Source:
    changed = bool(_said("git", "status", "--porcelain"))
    if changed and not rehearsal:
        message = "The work tree has changes that are in no commit; a release is of a commit."
        raise Refused(message)
    return Source(uri or "urn:git:bartizan", _said("git", "rev-parse", "HEAD"), changed)


def complete(folder: Path, *, rehearsal: bool, unscanned: bool, uri: str | None, builder: str, profile: str) -> None:
    """Write everything that a release has beside its wheel and its source, which are there."""
    version, ended = agree(ROOT, rehearsal=rehearsal), int(datetime.datetime.now(datetime.timezone.utc).timestamp())
    source = _source(uri, rehearsal=rehearsal)
    epoch = int(_said("git", "show", "-s", "--format=%ct", source.commit))
    artifacts = sorted(path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    wheels = [path for path in artifacts if path.suffix == ".whl"]
    if len(wheels) != 1 or len(artifacts) != len(wheels) + 1:
        message = f"{folder} has to hold one wheel and one source archive of this version, and no others."
        raise Refused(message)
    if unknown := required(wheels[0]):
        message = f"The wheel requires {', '.join(unknown)}, and the bill of materials would not say so."
        raise Refused(message)
    host = _first(r"^host: (\S+)", _said("rustc", "-vV"), "rustc")
    metadata = json.loads(_said("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host))
    lock = ROOT / "Cargo.lock"
    maturin = _said("maturin", "--version").split()[-1]
    made = bill(metadata, locked(lock.read_text(encoding="utf-8")), [("maturin", maturin)], epoch=epoch)
    (folder / BILL).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    tools = {"rustc": _said("rustc", "--version"), "maturin": maturin, "python": platform.python_version()}
    missed = tuple(scan(unscanned=unscanned))
    began = int(os.environ.get("RELEASE_BEGAN", ended))
    build = Build(builder, tools, profile, began, ended, missed)
    statement = provenance([*artifacts, folder / BILL], source, lock, build)
    (folder / ORIGIN).write_text(json.dumps(statement, indent=1) + "\n", encoding="utf-8")
    day, text = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version, rehearsal=rehearsal)
    if missed:
        text += "\n\nNot looked up for known holes: " + " ".join(missed)
    (folder / NOTES).write_text(f"# bartizan {version} ({day})\n\n{text}\n", encoding="utf-8")
    (folder / SUMS).write_text(sums(folder), encoding="ascii")


def main(words: list[str] | None = None) -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="release.py", description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    for name, told in (
        ("agree", "check that everything names one version, and print it"),
        ("scan", "look for known holes in the crates and the Python packages that build"),
        (
            "complete",
            "write the bill of materials, the provenance, the notes and the sums beside a wheel and its source",
        ),
    ):
        step = steps.add_parser(name, help=told)
        step.add_argument(
            "--rehearse", action="store_true", help="an unreleased version, and changes in no commit, will do"
        )
        step.add_argument("--unscanned", action="store_true", help="go on where known holes cannot be looked up")
        if name == "complete":
            step.add_argument("folder", type=Path)
            step.add_argument("--source", help="where the repository is")
            step.add_argument("--builder", default="urn:bartizan:builder:by-hand", help="who builds, as a URI")
            step.add_argument("--profile", default="dist")
    step = steps.add_parser("verify", help="check the files of a release against each other")
    step.add_argument("folder", type=Path)
    typed = parser.parse_args(words)
    try:
        if typed.step == "verify":
            said = verify(typed.folder)
        elif typed.step == "agree":
            said = [agree(ROOT, rehearsal=typed.rehearse)]
        elif typed.step == "scan":
            said = scan(unscanned=typed.unscanned) or ["no known holes"]
        else:
            options = {"uri": typed.source, "builder": typed.builder, "profile": typed.profile}
            complete(typed.folder, rehearsal=typed.rehearse, unscanned=typed.unscanned, **options)
            said = verify(typed.folder)
    except Refused as refused:
        print(f"release: {refused}", file=sys.stderr)
        return 1
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
