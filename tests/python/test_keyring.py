"""A credential in the system's keyring: read from a Secret Service on a bus of its own, and missed in one sentence.

The service here is a stand-in for GNOME Keyring or KWallet: it speaks enough of the Secret Service API to hold one
entry, and gives it out over an encrypted session as they do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from commands import PATIENCE, Upstream, audit_file, reply, run
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from jeepney import MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

SECRET = "the-token-that-lies-in-the-keyring"  # noqa: S105 - made up
ITEM = "/org/freedesktop/secrets/collection/login/1"
SESSION = "/org/freedesktop/secrets/session/1"
BUS = """<busconfig><type>session</type><listen>unix:path=%s</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>"""
# RFC 2409, second Oakley group: what the service and its clients agree on a key in
PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    16,
)


class Keyring(threading.Thread):
    """A Secret Service with one entry."""

    def __init__(self, bus: str) -> None:
        super().__init__(daemon=True)
        self.attributes = {"service": "bartizan", "username": "widgets"}
        self.key = b""
        self.asked: list[str] = []
        self.connection = open_dbus_connection(bus=bus)
        self.connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.secrets"))

    def run(self) -> None:
        """Answer until the bus goes away."""
        try:
            while True:
                message = self.connection.receive()
                if message.header.message_type is MessageType.method_call:
                    member = message.header.fields[3]
                    self.asked.append(member)
                    answer = getattr(self, f"on_{member}", None)
                    if answer is None:
                        self.connection.send(new_error(message, "org.freedesktop.DBus.Error.UnknownMethod"))
                    else:
                        self.connection.send(new_method_return(message, *answer(*message.body)))
        except (OSError, EOFError):
            self.connection.close()

    def on_OpenSession(self, algorithm: str, given: tuple[str, bytes]) -> tuple[str, tuple[Any, ...]]:  # noqa: N802 - D-Bus
        """Agree on a key."""
        assert algorithm == "dh-ietf1024-sha256-aes128-cbc-pkcs7"
        own = int.from_bytes(secrets.token_bytes(120), "big")
        shared = pow(int.from_bytes(bytes(given[1]), "big"), own, PRIME).to_bytes(128, "big")
        extracted = hmac.new(bytes(32), shared, hashlib.sha256).digest()
        self.key = hmac.new(extracted, b"\x01", hashlib.sha256).digest()[:16]
        return "vo", (("ay", pow(2, own, PRIME).to_bytes(128, "big")), SESSION)

    def on_SearchItems(self, wanted: dict[str, str]) -> tuple[str, tuple[Any, ...]]:  # noqa: N802 - D-Bus
        """Find the entry by what is known of it."""
        fits = all(self.attributes.get(name) == value for name, value in wanted.items())
        return "aoao", ([ITEM] if fits else [], [])

    def on_GetSecret(self, session: str) -> tuple[str, tuple[Any, ...]]:  # noqa: N802 - D-Bus
        """Give the secret out, encrypted for the session."""
        assert session == SESSION
        start = secrets.token_bytes(16)
        padding, cipher = PKCS7(128).padder(), Cipher(algorithms.AES(self.key), modes.CBC(start)).encryptor()
        padded = padding.update(SECRET.encode()) + padding.finalize()
        return "(oayays)", ((SESSION, start, cipher.update(padded) + cipher.finalize(), "text/plain"),)

    def on_Get(self, _interface: str, name: str) -> tuple[str, tuple[Any, ...]]:  # noqa: N802 - D-Bus
        """Tell a property."""
        return "v", ({"Locked": ("b", False), "Attributes": ("a{ss}", self.attributes)}[name],)

    def on_GetAll(self, _interface: str) -> tuple[str, tuple[Any, ...]]:  # noqa: N802 - D-Bus
        """Tell every property."""
        return "a{sv}", ({"Locked": ("b", False), "Attributes": ("a{ss}", self.attributes)},)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """Start a bus that nothing else is on."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("there is no dbus-daemon here")
    place = tmp_path / "bus"
    config = tmp_path / "bus.conf"
    config.write_text(BUS % place)
    command = [daemon, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("unix:")
        try:
            yield f"unix:path={place}"
        finally:
            process.kill()
            process.wait(PATIENCE)
            for thread in threading.enumerate():
                if isinstance(thread, Keyring):
                    thread.join(PATIENCE)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """Write a document with one operation."""
    path = tmp_path / "widgets.json"
    operation = {"operationId": "list_widgets", "responses": {"200": {"description": "ok"}}}
    text = {"openapi": "3.0.3", "info": {"title": "w", "version": "1"}, "paths": {"/widgets": {"get": operation}}}
    path.write_text(json.dumps(text))
    return path


def widgets(handler: BaseHTTPRequestHandler) -> None:
    """Answer what was sent as a credential, as a careless upstream would."""
    reply(handler, 200, json.dumps({"you_sent": handler.headers.get("authorization")}))


def call(document: Path, upstream: Upstream, entry: str, bus: str, state: Path) -> Any:
    """Call the one tool with a token from the keyring."""
    config = document.with_name("bartizan.toml")
    config.write_text(
        f'[[openapi]]\nfile = "{document}"\nbase_url = "{upstream.url}"\nauth = "bearer:keyring:{entry}"\n'
        f'[egress]\nallow_private = ["127.0.0.1:{upstream.port}"]\n'
    )
    assert str(state) == os.environ["BARTIZAN_STATE_DIR"]
    return run("call", "--config", config, "list_widgets", env={"DBUS_SESSION_BUS_ADDRESS": bus})


def test_a_credential_is_read_from_the_system_keyring_and_stays_unseen(bus: str, document: Path, state: Path) -> None:
    keyring = Keyring(bus)
    keyring.start()
    with Upstream(widgets) as upstream:
        done = call(document, upstream, "widgets", bus, state)
        assert done.code == 0, done.all
        assert [asked.headers["authorization"] for asked in upstream.seen] == [f"Bearer {SECRET}"]
        assert SECRET not in done.all
        assert "[redacted:" in done.out
        assert SECRET not in audit_file().read_text()

        missing = call(document, upstream, "gadgets", bus, state)
        assert missing.code != 0
        assert "the system keyring has no entry gadgets under bartizan" in missing.all
        assert len(upstream.seen) == 1, "without its credential nothing is sent"
    assert keyring.asked.count("GetSecret") >= 1


def test_without_a_keyring_the_call_says_what_else_to_use(document: Path, state: Path, tmp_path: Path) -> None:
    with Upstream(widgets) as upstream:
        done = call(document, upstream, "widgets", f"unix:path={tmp_path / 'nobody'}", state)
        assert done.code != 0
        assert "or is not available; store it there or use env: or file:" in done.all
        assert not upstream.seen
