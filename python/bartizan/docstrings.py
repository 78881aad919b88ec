"""Docstrings, read: what a function does, and what each parameter is.

Owns the Google, NumPy and Sphinx styles. The idea: the prose before the first section is the description.
Must not: know what a tool is.
"""

from __future__ import annotations

import re
from textwrap import dedent
from typing import NamedTuple

_SECTION = re.compile(
    r"^(args|arguments|parameters|params|returns?|yields?|raises|examples?|notes?|attributes|keyword args|"
    r"keyword arguments|other parameters|see also|warnings?|references):?$",
    re.IGNORECASE,
)
_PARAMETERS = {
    "args",
    "arguments",
    "parameters",
    "params",
    "keyword args",
    "keyword arguments",
    "other parameters",
    "attributes",
}
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_FIELD = re.compile(r"^:\w[^:]*:")


class Docs(NamedTuple):
    """What a docstring says."""

    description: str | None
    parameters: dict[str, str]


def parse(text: str | None) -> Docs:
    """Read a docstring in any of the three styles."""
    if not text:
        return Docs(None, {})
    first, _, rest = text.strip().partition("\n")
    lines = [first.strip(), *dedent(rest).splitlines()]
    prose: list[str] = []
    parameters: dict[str, str] = {}
    index = 0
    while index < len(lines):
        line = lines[index]
        if _FIELD.match(line.strip()):
            index = _sphinx(lines, index, parameters)
        elif (section := _heading(lines, index)) is not None:
            name, start, underlined = section
            index = _section(lines, start, underlined=underlined, into=parameters if name in _PARAMETERS else None)
        else:
            prose.append(line)
            index += 1
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip()
    return Docs(description or None, parameters)


def _heading(lines: list[str], index: int) -> tuple[str, int, bool] | None:
    line = lines[index]
    if index == 0 or line[:1].isspace() or not _SECTION.match(line.strip()):
        return None
    name = line.strip().rstrip(":").lower()
    if index + 1 < len(lines) and re.fullmatch(r"-{3,}|={3,}", lines[index + 1].strip()):
        return name, index + 2, True
    return (name, index + 1, False) if line.strip().endswith(":") else None


def _section(lines: list[str], index: int, *, underlined: bool, into: dict[str, str] | None) -> int:
    """Read one section; `into` is where parameters go. Returns the index after it."""
    names: list[str] = []
    base: int | None = None
    while index < len(lines):
        line = lines[index]
        if not line.strip():
            index += 1
            continue
        indent = len(line) - len(line.lstrip())
        if underlined:
            if _heading(lines, index) is not None:
                break
        elif indent == 0:
            break
        base = indent if base is None else base
        index += 1
        if into is None:
            continue
        text = line.strip()
        found = (_NUMPY if underlined else _GOOGLE).match(text) if indent <= base else None
        if found is not None:
            names = re.split(r"\s*,\s*\*{0,2}", found.group(1))
            for name in names:
                into[name] = "" if underlined else found.group(2)
        else:
            for name in names:
                into[name] = f"{into[name]} {text}".strip()
    return index


def _sphinx(lines: list[str], index: int, into: dict[str, str]) -> int:
    found = _SPHINX.match(lines[index].strip())
    words = [found.group(2)] if found else []
    index += 1
    while index < len(lines) and lines[index].strip() and not _FIELD.match(lines[index].strip()):
        words.append(lines[index].strip())
        index += 1
    if found:
        into[found.group(1)] = " ".join(words).strip()
    return index
