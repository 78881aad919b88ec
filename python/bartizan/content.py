"""What tools, resources and prompts may return, beyond plain values.

Owns the content classes. The idea: each knows how it looks on the wire (``wire()``), and nothing else.
Must not: touch the network or the core.
"""

from __future__ import annotations

import dataclasses
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON = dict[str, Any]

_MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
}


def _sparse(**items: object) -> JSON:
    return {key: value for key, value in items.items() if value is not None and value not in ([], ())}


@dataclasses.dataclass(frozen=True)
class Text:
    """A block of text, with hints about who it is for."""

    text: str
    annotations: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None

    def wire(self) -> JSON:
        """Return the content block."""
        return _sparse(type="text", text=self.text, annotations=self.annotations, _meta=self.meta)


@dataclasses.dataclass(frozen=True)
class _Media:
    """Bytes with a media type: given as ``data``, or read from ``path``."""

    data: bytes = b""
    mime_type: str | None = None
    path: str | Path | None = None
    format: str | None = None
    annotations: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None

    _type = ""
    _fallback = ""

    def wire(self) -> JSON:
        """Return the content block."""
        data = self.data if self.path is None else Path(self.path).read_bytes()
        ending = self.format or (Path(self.path).suffix.lstrip(".") if self.path is not None else "")
        mime = self.mime_type or _MEDIA.get(ending.lower(), self._fallback)
        return _sparse(
            type=self._type,
            data=b64encode(data).decode("ascii"),
            mimeType=mime,
            annotations=self.annotations,
            _meta=self.meta,
        )


@dataclasses.dataclass(frozen=True)
class Image(_Media):
    """A picture: ``Image(data, "image/png")`` or ``Image(path="chart.png")``."""

    _type = "image"
    _fallback = "image/png"


@dataclasses.dataclass(frozen=True)
class Audio(_Media):
    """A sound: ``Audio(data, "audio/wav")`` or ``Audio(path="note.wav")``."""

    _type = "audio"
    _fallback = "audio/wav"


@dataclasses.dataclass(frozen=True)
class ResourceLink:
    """A resource that the client can read later."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    annotations: Mapping[str, Any] | None = None

    def wire(self) -> JSON:
        """Return the content block."""
        return _sparse(
            type="resource_link",
            uri=self.uri,
            name=self.name,
            title=self.title,
            description=self.description,
            mimeType=self.mime_type,
            size=self.size,
            annotations=self.annotations,
        )


@dataclasses.dataclass(frozen=True)
class Contents:
    """Text or bytes of a resource. Without ``uri`` it is the address that was asked for."""

    content: str | bytes
    mime_type: str | None = None
    uri: str | None = None
    meta: Mapping[str, Any] | None = None

    def wire(self, uri: str, mime_type: str | None = None) -> JSON:
        """Return the resource contents."""
        mime = self.mime_type or mime_type
        if isinstance(self.content, bytes):
            blob = b64encode(self.content).decode("ascii")
            return _sparse(uri=self.uri or uri, mimeType=mime, blob=blob, _meta=self.meta)
        return _sparse(uri=self.uri or uri, mimeType=mime, text=self.content, _meta=self.meta)


@dataclasses.dataclass(frozen=True)
class EmbeddedResource:
    """A resource, included in the result."""

    uri: str
    content: str | bytes
    mime_type: str | None = None
    annotations: Mapping[str, Any] | None = None

    def wire(self) -> JSON:
        """Return the content block."""
        resource = Contents(self.content, self.mime_type).wire(self.uri)
        return _sparse(type="resource", resource=resource, annotations=self.annotations)


Block = Text | Image | Audio | ResourceLink | EmbeddedResource
BLOCKS: tuple[type, ...] = (Text, Image, Audio, ResourceLink, EmbeddedResource)


@dataclasses.dataclass(frozen=True)
class ToolResult:
    """The whole result of a tool, said explicitly."""

    content: Sequence[Block | str] | Block | str = ()
    structured: Any = None
    is_error: bool = False
    meta: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Message:
    """One message of a prompt."""

    content: Block | str
    role: Literal["user", "assistant"] = "user"

    def wire(self) -> JSON:
        """Return the prompt message."""
        return {"role": self.role, "content": block(self.content).wire()}


@dataclasses.dataclass(frozen=True)
class PromptResult:
    """The whole result of a prompt, said explicitly."""

    messages: Sequence[Message | str]
    description: str | None = None


@dataclasses.dataclass(frozen=True)
class Icon:
    """A picture for a user interface: an ``https:`` or ``data:`` address."""

    src: str
    mime_type: str | None = None
    sizes: Sequence[str] = ()
    theme: Literal["light", "dark"] | None = None

    def wire(self) -> JSON:
        """Return the icon."""
        return _sparse(src=self.src, mimeType=self.mime_type, sizes=list(self.sizes), theme=self.theme)


def block(value: Block | str) -> Block:
    """Return the value as a content block."""
    return Text(value) if isinstance(value, str) else value


def icons(values: Sequence[Icon | str], owner: str) -> list[JSON]:
    """Return icons as they look on the wire; a bare string is an address."""
    found = []
    for value in values:
        icon = Icon(value) if isinstance(value, str) else value
        if not hasattr(icon, "wire"):
            message = f"{owner}: icons are addresses or bartizan.Icon"
            raise ConfigError(message)
        found.append(icon.wire())
    return found
