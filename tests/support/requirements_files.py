"""The requirements files, read as pip reads them, and what pyproject.toml says of the package."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements.txt"
TESTS = ROOT / "tests" / "requirements.txt"
LOCK = ROOT / "requirements.lock"
FULL_LOCK = ROOT / "requirements-full.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
BUILD_LOCK = ROOT / "client" / "build.lock"
UV_LOCK = ROOT / "app" / "launcher" / "installer.lock"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DASHES = "# ----"


@dataclass(frozen=True)
class Pin:
    """One line of the lock: exactly this version, where its marker holds, in one of these files."""

    name: str
    version: Version
    marker: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]  # empty: requirements.txt names it, and perhaps nobody else


def _parts() -> list[dict[str, Version]]:
    """{name: pinned version} of each part of requirements.txt: the lines of dashes stand between them."""
    first, *others = REQUIREMENTS.read_text(encoding="utf-8").split(DASHES)
    return [_pins(first), *(_pins(text.partition("\n")[2]) for text in others)]


def of_slim() -> dict[str, Version]:
    """Return the packages of the image `task-service`."""
    return _parts()[0]


def of_full() -> dict[str, Version]:
    """Return what `task-service-full` has besides."""
    return _parts()[1]


def direct() -> dict[str, Version]:
    """Return the packages of the images."""
    return of_slim() | of_full()


def beside_the_image() -> dict[str, Version]:
    """Return the others: the embedded servers and the tools of the unit tests."""
    return _parts()[2]


def of_the_build() -> dict[str, Version]:
    """{name: pinned version} of what builds the client."""
    system = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    return _pins("\n".join(system["requires"]))


def of_the_installer() -> dict[str, Version]:
    """{name: pinned version} of uv: `make lock` uses the one that run_server.py installs with."""
    (pinned,) = re.findall(r"^UV := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return _pins(pinned)


def tools() -> dict[str, Version]:
    """{name: pinned version} of tests/requirements.txt."""
    return _pins(TESTS.read_text(encoding="utf-8"))


def _pins(text: str) -> dict[str, Version]:
    bare = [line.split("#")[0].strip() for line in text.splitlines()]
    packages = [line for line in bare if line and not line.startswith("-e ")]  # the client, a folder here
    return {canonicalize_name(each.name): _exactly(each) for each in map(Requirement, packages)}


def locked(*locks: Path) -> list[Pin]:
    """Return what these pin, by default the locks of the images."""
    texts = [lock.read_text(encoding="utf-8") for lock in locks or (LOCK, FULL_LOCK)]
    entries = [re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:] for text in texts]  # the first is the head
    return [_pin(entry) for each in entries for entry in each]


def _pin(entry: str) -> Pin:
    wanted = Requirement(re.split(r"\\?\n", entry, maxsplit=1)[0])
    hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
    needed_by = tuple(re.findall(r"^ +#(?: via|  ) +([\w.-]+)$", entry, flags=re.MULTILINE))
    return Pin(canonicalize_name(wanted.name), _exactly(wanted), str(wanted.marker or ""), hashes, needed_by)


def _exactly(requirement: Requirement) -> Version:
    (only,) = requirement.specifier
    assert only.operator == "==", requirement
    return Version(only.version)
