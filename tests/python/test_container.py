"""What deploy/ promises of the container, checked by its linters and by reading it: no engine is needed."""

from __future__ import annotations

import datetime
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import bartizan
import pytest
from commands import Process
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def program(name: str) -> str:
    """Return the path of a program that was installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def containerfile() -> list[tuple[str, str]]:
    """Return the instructions, with continued lines joined."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def parsed(text: str) -> dict[str, Any]:
    """Return a compose file that has this text."""
    yaml = pytest.importorskip("yaml")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def compose() -> dict[str, Any]:
    """Return the compose file."""
    return parsed((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def last_stage() -> list[tuple[str, str]]:
    """Return the instructions of the image that is kept."""
    found = containerfile()
    start = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_the_linters_find_nothing() -> None:
    """Both files are what engines and people expect."""
    done = subprocess.run([program("hadolint"), str(DEPLOY / "Containerfile")], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    schemas = (("vendor.compose-spec", DEPLOY / "compose.yaml"), ("vendor.dependabot", ROOT / ".github/dependabot.yml"))
    for schema, file in schemas:
        command = [program("check-jsonschema"), "--builtin-schema", schema, str(file)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()


def test_base_images_are_named_by_digest_and_renewed_by_a_bot() -> None:
    """A tag can be moved; a digest cannot."""
    images = [rest.split()[0] for word, rest in containerfile() if word == "FROM"]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"[a-z0-9./:-]+@sha256:[0-9a-f]{64}", image), image
    bot = (ROOT / ".github/dependabot.yml").read_text(encoding="utf-8")
    for ecosystem in ("cargo", "docker", "github-actions"):
        assert f"package-ecosystem: {ecosystem}" in bot


def test_the_image_runs_as_nobody_and_has_no_shell() -> None:
    """The last stage copies and runs; it has nothing to build with."""
    stage = last_stage()
    words = [word for word, _ in stage]
    assert "RUN" not in words
    assert "ADD" not in words
    assert "distroless" in stage[0][1]
    assert ":nonroot@" in stage[0][1]
    assert ("USER", "65532:65532") in stage
    for word in ("ENTRYPOINT", "CMD"):
        assert dict(stage)[word].startswith("["), "an engine would need a shell for it"
    assert "sh" not in dict(stage)["HEALTHCHECK"].replace('"', " ").split()


def test_a_container_is_confined_and_limited() -> None:
    """Read-only, without capabilities, with bounds, on networks of its own."""
    service = compose()["services"]["bartizan"]
    assert service["user"] == "65532:65532"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    for bound in ("mem_limit", "cpus", "pids_limit"):
        assert service[bound]
    assert "privileged" not in service
    assert "cap_add" not in service
    assert len(service["networks"]) == 2
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ["state:/state"]


def test_credentials_are_files_and_never_part_of_an_image() -> None:
    """Nothing but names of files stands in the environment, and the build cannot see a credential."""
    read = compose()
    service = read["services"]["bartizan"]
    for name, value in service["environment"].items():
        assert name.endswith("_FILE"), name
        assert value.startswith("/run/secrets/"), name
    assert set(service["secrets"]) == set(read["secrets"])
    assert all(set(secret) == {"file"} for secret in read["secrets"].values())
    assert not [rest for word, rest in containerfile() if word == "ARG"]
    seen = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert seen[1] == "*"
    allowed = {line[1:] for line in seen if line.startswith("!")}
    copied = {
        part for word, rest in containerfile() if word == "COPY" and "--from" not in rest for part in rest.split()[:-1]
    }
    assert copied <= allowed | {"./src", "./python"}, copied - allowed
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    uncommented, found = re.subn(r"(?m)^(\s+)# (- \S+edgerc:)", r"\1\2", text)
    assert found == 1
    [edgerc] = [volume for volume in parsed(uncommented)["services"]["bartizan"]["volumes"] if "edgerc" in volume]
    source, target, mode = edgerc.split(":")
    assert (target, mode) == ("/run/secrets/edgerc", "ro")
    assert {str(Path(secret["file"]).parent) for secret in read["secrets"].values()} == {str(Path(source).parent)}


def test_the_configuration_of_the_container_is_one_that_serves(tmp_path: Path) -> None:
    """It is checked as it stands, with the files that compose would mount."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bartizan.example.com")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {
        "tls_certificate": built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM),
        "tls_key": private,
        "equinix_client_id": b"an-id",
        "equinix_client_secret": b"a-secret-for-the-container",
    }
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        (tmp_path / file).chmod(0o600)
    text = (DEPLOY / "bartizan.toml").read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    config = tmp_path / "bartizan.toml"
    # the container's user is nobody; a test may be root
    config.write_text(("allow_root = true\n" if os.geteuid() == 0 else "") + text, encoding="utf-8")
    named = compose()["services"]["bartizan"]["environment"]
    environment = {name: value.replace("/run/secrets", str(tmp_path)) for name, value in named.items()}
    done = subprocess.run(
        [program("bartizan"), "check", "--config", str(config)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    refused = subprocess.run(
        [program("bartizan"), "check", "--config", str(config)],
        env=os.environ | {name: str(tmp_path / "missing") for name in named},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert refused.returncode == 2, "a credential that is not mounted is noticed"
    # the health check as compose runs it, but for where Python and the port are
    word, python, script, address = compose()["services"]["bartizan"]["healthcheck"]["test"]
    assert json.loads(dict(last_stage())["HEALTHCHECK"].split("CMD", 1)[1]) == [python, script, address]
    assert (word, python) == ("CMD", "/usr/bin/python3")
    assert Path(script).parts[:2] == ("/", "app"), "where the image has the package"
    listen = next(line for line in text.splitlines() if line.startswith("listen = "))
    assert f":{listen.split(':')[1].strip(chr(34))}/" in address
    health = Path(bartizan.__file__).parents[1].joinpath(*Path(script).parts[2:])
    config.write_text(config.read_text(encoding="utf-8").replace(listen, 'listen = "127.0.0.1:0"'), encoding="utf-8")
    state = {"BARTIZAN_STATE_DIR": str(tmp_path / "state")}
    with Process("serve", "--config", config, env={**environment, **state}) as server:
        port = server.err.wait(lambda line: re.match(r"serving https://[^/]+:(\d+)/mcp", line))[1]
        ask = [sys.executable, str(health), address.replace(":8600/", f":{port}/")]
        done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
    assert subprocess.run(ask, capture_output=True, check=False, timeout=60).returncode == 1


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_the_health_check_says_what_the_server_says() -> None:
    """Well, ill, gone, and asked about somebody else."""

    def check(*arguments: str) -> int:
        command = [sys.executable, "-m", "bartizan.health", *arguments]
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert check(f"{address}/200") == 0
        assert check(f"{address}/503") == 1
        server.shutdown()
    assert check(f"{address}/200") == 1
    assert check("http://example.com/healthz") == 2
    assert check("file:///etc/passwd") == 2
    assert check() == 2
