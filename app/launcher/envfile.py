"""Reads and writes files of KEY=VALUE lines that a shell (`set -a; . file`) and python-dotenv read alike.

Both read bare words, single quotes around text without `'` and `\\`, and double quotes with `\\\\` and `\\"` alike. No
form works in both for a value that has a `$` and also a quote or a backslash: a comment takes the place of its line.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from app.launcher.secretfile import write_private

BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quoted(value: str) -> str | None:
    """The value in a form that both read back unchanged; None when there is none."""
    if BARE.fullmatch(value):
        return value
    if "${" in value or "\0" in value or "\r" in value:
        return None  # python-dotenv expands ${…} inside any quotes, and reads a carriage return as a newline
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    if "$" in value or "`" in value or value.endswith("\\"):
        return None  # python-dotenv does not know \\$, and takes \\\\" at the end for an escaped quote
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render(values: Mapping[str, str], heading: str) -> str:
    """The text of a file with these values, below the heading as comments."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, value in values.items():
        text = quoted(value)
        lines.append(f"# {name}: its value cannot be written in this file" if text is None else f"{name}={text}")
    return "\n".join(lines) + "\n"


def write_env(path: Path, values: Mapping[str, str], heading: str) -> None:
    """Replace the file, with mode 0600 since it holds secrets. Raises ValueError for a name that no shell takes."""
    if bad := [name for name in values if not NAME.fullmatch(name)]:
        raise ValueError(f"not the name of a variable: {bad[0]}")
    write_private(path, render(values, heading))


def read_env(path: Path) -> dict[str, str]:
    """The values in the file that are not empty, as python-dotenv reads them; {} when there is no file."""
    from dotenv import dotenv_values

    if not path.is_file():
        return {}
    return {name: value for name, value in dotenv_values(path, encoding="utf-8").items() if value}
