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


def direct(*, runtime_only: bool = True) -> dict[str, Version]:
    """{name: pinned version} of requirements.txt: what stands above the line of dashes, or all of it."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    lines = (text.split(DASHES, 1)[0] if runtime_only else text).splitlines()
    wanted = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    return {canonicalize_name(each.name): _exactly(each) for each in wanted}


def locked() -> list[Pin]:
    text = re.sub(r"\\\n", " ", LOCK.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "-"))]
    return [_pin(line) for line in lines]


def _pin(line: str) -> Pin:
    wanted = Requirement(line.split(" --hash=", maxsplit=1)[0])
    hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
    return Pin(canonicalize_name(wanted.name), _exactly(wanted), str(wanted.marker or ""), hashes)


def _exactly(requirement: Requirement) -> Version:
    (only,) = requirement.specifier
    assert only.operator == "==", requirement
    return Version(only.version)
