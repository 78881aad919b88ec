"""Credentials of connectors, checked by upstreams that compute them with Python's own library."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import ssl
import textwrap
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest
from commands import Upstream, reply, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

DOCUMENT = """\
openapi: 3.1.0
info: {title: Widgets, version: "1"}
paths:
  /widgets:
    get:
      operationId: listWidgets
      parameters:
        - {name: q, in: query, schema: {type: string}}
        - {name: a, in: query, schema: {type: string}}
      responses: {"200": {description: All, content: {application/json: {schema: {type: object}}}}}
    post:
      operationId: searchWidgets
      requestBody: {required: true, content: {application/json: {schema: {type: object}}}}
      responses: {"200": {description: All, content: {application/json: {schema: {type: object}}}}}
"""
KEY = "the signing key of these tests"


class Site:
    """A connector's folder, and a configuration that names it."""

    def __init__(self, folder: Path, base: str, credentials: str, egress: str = "") -> None:
        self.folder = folder
        place = urllib.parse.urlsplit(base).netloc
        acme = folder / "acme"
        acme.mkdir()
        (acme / "openapi.yaml").write_text(DOCUMENT)
        manifest = f"""
            name = "acme"
            base = "{base}"
            {textwrap.dedent(credentials)}
            [[operation]]
            id = "searchWidgets"
            effect = "read"
        """
        (acme / "connector.toml").write_text("\n".join(line.strip() for line in manifest.splitlines()))
        config = f"""
            [egress]
            allow_private = ["{place}"]
            {egress}
            [[connector]]
            path = "acme"
        """
        self.config = folder / "bartizan.toml"
        self.config.write_text("\n".join(line.strip() for line in config.splitlines()))
        self.config.chmod(0o600)

    def keep(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return f"file:{path}"

    def call(self, tool: str, arguments: str) -> Any:
        return run("call", "--config", self.config, tool, arguments)


def refuse(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, 401, '{"message": "the signature does not fit"}')


def checked(compute: Callable[[Any], bool]) -> Upstream:
    """Return an upstream that lets in what ``compute`` accepts."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if compute(upstream.seen[-1]):
            reply(handler, 200, '{"let": "in"}')
        else:
            refuse(handler)

    upstream = Upstream(answer)
    return upstream


def aws_like(asked: Any) -> bool:
    split = urllib.parse.urlsplit(asked.path)
    stamp = asked.headers["x-timestamp"]
    if abs(int(stamp) - time.time()) > 60:
        return False
    message = "\n".join([asked.method, split.path, split.query, stamp, hashlib.sha256(asked.body).hexdigest()])
    expected = hmac.new(KEY.encode(), message.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, asked.headers["x-signature"])


def http_signature(asked: Any) -> bool:
    stamp = asked.headers["date"]
    made = datetime.datetime.strptime(stamp, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=datetime.timezone.utc)
    if abs(made.timestamp() - time.time()) > 60:
        return False
    digest = "SHA-512=" + base64.b64encode(hashlib.sha512(asked.body).digest()).decode()
    if asked.headers["digest"] != digest:
        return False
    message = (
        f"(request-target): {asked.method.lower()} {asked.path}\nhost: {asked.headers['host']}\ndate: {stamp}\n"
        f"nonce: {asked.headers['x-nonce']}"
    )
    key = bytes.fromhex("00112233445566778899aabbccddeeff")
    expected = base64.b64encode(hmac.new(key, message.encode(), hashlib.sha512).digest()).decode()
    return bool(asked.headers["authorization"] == f'Signature keyId="client-7",signature="{expected}"')


AWS_LIKE = """
    [credentials]
    kind = "hmac"
    key = "file:{folder}/key"
    sign = "{{method}}\\n{{path}}\\n{{query}}\\n{{timestamp}}\\n{{body_sha256_hex}}"
    [credentials.headers]
    X-Timestamp = "{{timestamp}}"
    X-Signature = "{{signature}}"
"""
HTTP_SIGNATURE = """
    [credentials]
    kind = "hmac"
    key = "file:{folder}/key"
    key_id = "file:{folder}/id"
    key_encoding = "hex"
    algorithm = "sha512"
    encoding = "base64"
    time = "http-date"
    sign = "(request-target): {{method_lower}} {{target}}\\nhost: {{host}}\\ndate: {{timestamp}}\\nnonce: {{nonce}}"
    [credentials.headers]
    Date = "{{timestamp}}"
    X-Nonce = "{{nonce}}"
    Digest = "SHA-512={{body_sha512_base64}}"
    Authorization = 'Signature keyId="{{key_id}}",signature="{{signature}}"'
"""


@pytest.mark.parametrize(
    "recipe, key, compute",
    [
        (AWS_LIKE, KEY, aws_like),
        (HTTP_SIGNATURE, "00112233445566778899aabbccddeeff", http_signature),
    ],
    ids=["aws-like", "http-signature"],
)
def test_what_is_signed_is_what_python_computes(
    tmp_path: Path, recipe: str, key: str, compute: Callable[[Any], bool]
) -> None:
    with checked(compute) as upstream:
        site = Site(tmp_path, upstream.url, recipe.format(folder=tmp_path))
        site.keep("key", key)
        site.keep("id", "client-7")
        for tool, arguments in [
            ("list_widgets", '{"q": "a b/c&d=e", "a": "\\u00e4"}'),
            ("list_widgets", "{}"),
            ("search_widgets", '{"body": {"size": 7, "name": "\\u00e4\\n"}}'),
        ]:
            done = site.call(tool, arguments)
            assert done.code == 0, done.all
            assert '"in"' in done.out
        assert len(upstream.seen) == 3
        # another key, and nobody gets in
        site.keep("key", key[:-2] + "00")
        done = site.call("list_widgets", "{}")
        assert done.code != 0
        assert key not in done.all


def test_a_key_in_the_query_is_decoded_as_it_was_and_shown_to_nobody(tmp_path: Path) -> None:
    key = "k/47+11 &=#\u00e4 of the owner"

    def compute(asked: Any) -> bool:
        pairs = urllib.parse.parse_qsl(urllib.parse.urlsplit(asked.path).query, strict_parsing=True)
        return pairs == [("q", "a b"), ("key", key)]

    with checked(compute) as upstream:
        site = Site(
            tmp_path, upstream.url, f'[credentials]\nkind = "query"\nname = "key"\nfrom = "file:{tmp_path}/key"'
        )
        site.keep("key", key)
        done = site.call("list_widgets", '{"q": "a b"}')
        assert done.code == 0, done.all
        done = site.call("list_widgets", '{"q": "other"}')
        assert done.code != 0
        for text in (key, urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key)):
            assert text not in done.all


def certificates(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Make an authority, a server's certificate and a client's; return the files of the first two, and the client's."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)

    def named(common: str) -> Any:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

    def made(common: str, issuer: Any, signer: Any, *extensions: Any) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(common))
            .issuer_name(issuer or named(common))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(signer or key, hashes.SHA256()), key

    def pem(certificate: Any, key: Any) -> str:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return str(certificate.public_bytes(serialization.Encoding.PEM).decode() + private.decode())

    authority, root = made("authority", None, None, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    server, server_key = made("localhost", authority.subject, root, names)
    client, client_key = made(name, authority.subject, root)
    files = folder / "ca.pem", folder / "server.pem", folder / "client.pem"
    files[0].write_text(authority.public_bytes(serialization.Encoding.PEM).decode())
    files[1].write_text(pem(server, server_key))
    # one file for both, as vendors hand them out
    files[2].write_text(pem(client, client_key))
    files[2].chmod(0o600)
    return files


def test_a_client_certificate_opens_a_door_of_pythons_ssl(tmp_path: Path) -> None:
    authority, server, client = certificates(tmp_path, "client of the tests")
    shown: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        subject = handler.connection.getpeercert()["subject"]
        shown.append(dict(pair for part in subject for pair in part)["commonName"])
        reply(handler, 200, '{"let": "in"}')

    upstream = Upstream(answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    upstream.server.socket = context.wrap_socket(upstream.server.socket, server_side=True)
    with upstream:
        credentials = f'[credentials]\nkind = "certificate"\ncertificate = "file:{client}"\nkey = "file:{client}"'
        site = Site(tmp_path, f"https://localhost:{upstream.port}", credentials, f'ca_file = "{authority}"')
        done = site.call("list_widgets", "{}")
        assert done.code == 0, done.all
        assert shown == ["client of the tests"]
        client.chmod(0o644)
        done = site.call("list_widgets", "{}")
        assert done.code != 0
        assert "chmod 600" in done.all
        assert shown == ["client of the tests"]
