"""How deep the values of a line of JSON are nested.

polars crashes at some hundred levels, and takes minutes for fewer. A file is looked at piece by piece: only in a line
with more openings than MAX_DEPTH can there be as many levels.
"""

import re

from app.tasks.data.errors import UnusableData

MAX_DEPTH = 64
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
OPENING, BRACKET = b"[{", re.compile(rb"[\[\]{}]")


def check_depth(lines: bytes, name: str, before: int) -> None:
    """Raise UnusableData, which names the line, if one of these is deeper than MAX_DEPTH. `before` is their offset."""
    if _openings(lines) <= MAX_DEPTH + lines.count(b"\n"):
        return
    for number, line in enumerate(lines.split(b"\n"), start=before + 1):
        if _openings(line) > MAX_DEPTH and _is_deep(line):
            raise UnusableData(f"{name}: line {number} is nested more than {MAX_DEPTH} levels deep: make it flatter")


def _openings(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def _is_deep(line: bytes) -> bool:
    depth = 0
    for found in BRACKET.finditer(STRING.sub(b"", line)):
        depth += 1 if found[0] in OPENING else -1
        if depth > MAX_DEPTH:
            return True
    return False
