"""The versions of Python and of the packages, against the ranges of the distribution."""

import platform
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import app
from app.core.version import VERSION
from app.doctor.findings import Finding, fail, ok, say, warn

DISTRIBUTION = "task-service"
_PROJECT = Path(app.__file__).parents[1] / "pyproject.toml"


def check_python() -> Iterator[Finding]:
    """Compare this Python with `Requires-Python`."""
    seen = platform.python_version()
    declared = _declared()
    if declared is None or SpecifierSet(declared[0]).contains(seen, prereleases=True):
        yield ok(say("{}, task service {}", seen, VERSION))
    else:
        yield fail(say("{}, and {} is needed", seen, declared[0]), say("install the service with a newer Python"))


def check_packages() -> Iterator[Finding]:
    """Compare each installed package with the range that the distribution asks for."""
    declared = _declared()
    if declared is None:
        yield ok(say("not compared: the distribution {} is not installed here", DISTRIBUTION))
        return
    wrong = list(unmet(declared[1]))
    yield from wrong
    if not wrong:
        yield ok(say("all are within their ranges"))


def unmet(requirements: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each requirement, extras left out, that the installed packages do not meet."""
    for wanted in map(Requirement, requirements):
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        remedy = say("pip install '{}'", f"{wanted.name}{wanted.specifier}")
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield fail(say("{} is not installed", wanted.name), remedy)
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            # It may work all the same: the ranges say what was tested.
            yield warn(say("{} {}, tested with {}", wanted.name, version, str(wanted.specifier)), remedy)


def _declared() -> tuple[str, list[str]] | None:
    """Return `Requires-Python` and the requirements: of the checkout that this code is, else of the distribution."""
    if _PROJECT.is_file():
        project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            return project["requires-python"], project["dependencies"]
    try:
        found = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    return found.metadata["Requires-Python"], found.requires or []
