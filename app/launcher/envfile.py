"""Files of KEY=VALUE lines that mean the same to `set -a; . file` in a shell and to python-dotenv.

The two agree on bare words, on single quotes around what has neither `'` nor `\\`, and on double quotes with `\\\\` and
`\\"`. Nothing expresses a value with both a quote or a backslash and a `$`: such a line is left out, as a comment.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from app.launcher.secretfile import write_private

BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quoted(value: str) -> str | None:
    """The value as both would read it back; None when no writing of it does."""
    if BARE.fullmatch(value):
        return value
    if "${" in value or "\0" in value or "\r" in value:
        return None  # python-dotenv expands ${…} whatever the quotes, and reads a carriage return as a newline
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    if "$" in value or "`" in value or value.endswith("\\"):
        return None  # python-dotenv knows no \\$ in double quotes, and takes a last \\\\" for a quote that goes on
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render(values: Mapping[str, str], heading: str) -> str:
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, value in values.items():
        text = quoted(value)
        lines.append(f"# {name}: given, but not expressible here" if text is None else f"{name}={text}")
    return "\n".join(lines) + "\n"


def write_env(path: Path, values: Mapping[str, str], heading: str) -> None:
    """Replace the file; mode 0600, as it holds secrets."""
    if bad := [name for name in values if not NAME.fullmatch(name)]:
        raise ValueError(f"not the name of a variable: {bad[0]}")
    write_private(path, render(values, heading))


def read_env(path: Path) -> dict[str, str]:
    """What python-dotenv reads in it, empty values left out; nothing when there is no such file."""
    from dotenv import dotenv_values

    if not path.is_file():
        return {}
    return {name: value for name, value in dotenv_values(path, encoding="utf-8").items() if value}
