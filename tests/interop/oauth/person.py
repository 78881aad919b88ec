"""A person's client: the official Python SDK signs in, calls, and asks for more when it has to.

Owns nothing: ``python person.py JSON`` runs in a virtual environment with the SDK, and prints a line for each check.
Must not: help the SDK to find anything; it is told the address of the server and no more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

CALLBACK = "http://127.0.0.1:9/callback"


class Memory:
    """Where the SDK keeps what it was given."""

    def __init__(self) -> None:
        """Begin without a token."""
        self.tokens: OAuthToken | None = None
        # an operator registered the program beforehand
        known = {"client_id": "person", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
        self.client: OAuthClientInformationFull | None = OAuthClientInformationFull.model_validate(known)

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep the tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the registration."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep the registration."""
        self.client = client_info


class Browser:
    """Goes where it is sent, agrees to everything, and comes back."""

    def __init__(self) -> None:
        """Begin without a visit."""
        self.asked: list[str] = []
        self.back = ""
        self.web = httpx2.AsyncClient()

    async def open(self, address: str) -> None:
        """Follow the redirects until they lead back."""
        self.asked.append(" ".join(parse_qs(urlsplit(address).query).get("scope", [])))
        for _ in range(20):
            response = await self.web.get(address)
            if response.status_code not in {302, 303}:
                message = f"{response.status_code} from the authorization server: {response.text[:300]}"
                raise RuntimeError(message)
            address = str(httpx2.URL(address).join(response.headers["location"]))
            if address.startswith(CALLBACK):
                self.back = address
                return
        message = "the authorization server sends the browser in circles"
        raise RuntimeError(message)

    async def come_back(self) -> AuthorizationCodeResult:
        """Return what the authorization server said."""
        said = {name: values[0] for name, values in parse_qs(urlsplit(self.back).query).items()}
        if "code" not in said:
            message = f"the authorization server said no: {said}"
            raise RuntimeError(message)
        return AuthorizationCodeResult(code=said["code"], state=said.get("state"), iss=said.get("iss"))


def check(name: str, holds: object, why: object = "") -> None:
    """Print what came of a check."""
    said = {"check": name, "result": "pass" if holds else "FAIL", "why": "" if holds else str(why)}
    print(json.dumps(said), flush=True)  # noqa: T201


async def main(resource: str) -> None:
    """Sign in, read, write."""
    memory, browser = Memory(), Browser()
    metadata: dict[str, Any] = {
        "client_name": "person",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    provider = OAuthClientProvider(
        server_url=resource,
        client_metadata=OAuthClientMetadata.model_validate(metadata),
        storage=memory,
        redirect_handler=browser.open,
        callback_handler=browser.come_back,
    )
    async with (
        httpx2.AsyncClient(auth=provider, timeout=30) as web,
        streamable_http_client(resource, http_client=web) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        check("the SDK signs in by itself", memory.tokens is not None and len(browser.asked) == 1, browser.asked)
        check("and was told to ask for little", "mcp:write" not in browser.asked[0], browser.asked)
        seen = await session.call_tool("look", {})
        check("it reads", not seen.is_error and "seen" in str(seen.content), seen)
        who = await session.call_tool("whoami", {})
        check("it is anna, whatever it calls itself", "oauth:test:anna" in str(who.content), who)
        names = [tool.name for tool in (await session.list_tools()).tools]
        check("it sees what it could ask for", "touch" in names, names)
        done = await session.call_tool("touch", {})
        check("it writes", not done.is_error and "touched" in str(done.content), done)
        more = browser.asked[1:]
        check("after it asked for more, once", len(more) == 1 and "mcp:write" in more[0], browser.asked)


asyncio.run(main(json.loads(sys.argv[1])["resource"]))
