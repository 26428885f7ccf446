"""requirements.txt and requirements.lock, read as pip reads them."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements.txt"
LOCK = ROOT / "requirements.lock"
DASHES = "# ----"


@dataclass(frozen=True)
class Pin:
    """One line of the lock: exactly this version, where its marker holds, in one of these files."""

    name: str
    version: Version
    marker: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]  # empty: requirements.txt names it, and perhaps nobody else


def direct(*, runtime_only: bool = True) -> dict[str, Version]:
    """{name: pinned version} of requirements.txt: what stands above the line of dashes, or all of it."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    lines = (text.split(DASHES, 1)[0] if runtime_only else text).splitlines()
    wanted = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    return {canonicalize_name(each.name): _exactly(each) for each in wanted}


def locked() -> list[Pin]:
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [_pin(entry) for entry in entries[1:]]  # the first is the head of the file


def _pin(entry: str) -> Pin:
    wanted = Requirement(re.split(r"\\?\n", entry, maxsplit=1)[0])
    hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
    needed_by = tuple(re.findall(r"^ +#(?: via|  ) +([\w.-]+)$", entry, flags=re.MULTILINE))
    return Pin(canonicalize_name(wanted.name), _exactly(wanted), str(wanted.marker or ""), hashes, needed_by)


def _exactly(requirement: Requirement) -> Version:
    (only,) = requirement.specifier
    assert only.operator == "==", requirement
    return Version(only.version)
