"""This installation: Python and its packages, the settings, the modules of tasks, the storage and the disks."""

import os
import platform
import shutil
import tomllib
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import app
from app.catalogue import EXTRAS, read_tasks
from app.core.config import ConfigurationError, Settings, setting_warnings
from app.core.engines import SQLITE
from app.core.redacted_text import redact_text
from app.core.version import VERSION
from app.db.session import engine
from app.doctor.findings import Finding, fail, ok, told, warn
from app.errors import ServiceError, Text
from app.launcher.options import ROOT
from app.messaging.loader import check_task_modules
from app.services.execution.claims import check_queue_shares
from app.storage import Storage

DISTRIBUTION = "task-service"
_PROJECT = Path(app.__file__).parents[1] / "pyproject.toml"


def check_python() -> Iterator[Finding]:
    """Compare this Python with `Requires-Python`."""
    seen = platform.python_version()
    declared = _declared_versions()
    if declared is None or SpecifierSet(declared[0]).contains(seen, prereleases=True):
        yield ok(Text("{}, task service {}", seen, VERSION))
    else:
        yield fail(Text("{}, and {} is needed", seen, declared[0]), Text("install the service with a newer Python"))


def check_packages() -> Iterator[Finding]:
    """Compare each installed package with the range that the distribution asks for."""
    declared = _declared_versions()
    if declared is None:
        yield ok(Text("not compared: the distribution {} is not installed here", DISTRIBUTION))
        return
    wrong = list(unmet_requirements(declared[1]))
    yield from wrong
    if not wrong:
        yield ok(Text("all are within their ranges"))


def unmet_requirements(requirements: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each requirement, extras left out, that the installed packages do not meet."""
    for wanted in map(Requirement, requirements):
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        remedy = Text("pip install '{}'", f"{wanted.name}{wanted.specifier}")
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield fail(Text("{} is not installed", wanted.name), remedy)
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            # It may work all the same: the ranges say what was tested.
            yield warn(Text("{} {}, tested with {}", wanted.name, version, str(wanted.specifier)), remedy)


def _declared_versions() -> tuple[str, list[str]] | None:
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


# -- The settings: those that are refused, are missing, or are probably misspelt ---------------------------------------

NEEDED = ("database_url", "celery_broker_url")
_PREFIX = "configuration: "


def refused_settings(error: ConfigurationError) -> Iterator[Finding]:
    """Yield a finding for each setting that is refused."""
    for line in str(error).splitlines():
        yield fail(
            Text("{}", line.removeprefix(_PREFIX)), Text("correct the setting: docs/configuration.md describes it")
        )
    yield warn(Text("nothing else is checked without settings"))


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Say what is missing, and repeat the warnings that each process logs at its start."""
    wrong = False
    for name in NEEDED:
        if getattr(settings, name) is None:
            wrong = True
            yield fail(
                Text("{} is not set", name.upper()),
                Text("set it in .env or in the environment, or start everything with `python3 run_server.py`"),
            )
    new_key = Text('set it to the output of `python3 -c "import secrets; print(secrets.token_hex(32))"`')
    if settings.secret_key is None:
        wrong = True
        yield warn(Text("SECRET_KEY is not set: each process signs tokens with a key of its own"), new_key)
    for line in setting_warnings(settings):
        wrong = True
        is_of_key = line.startswith("SECRET_KEY ")
        yield warn(Text("{}", line.removeprefix(_PREFIX)), new_key if is_of_key else Text("correct or remove it"))
    if not wrong:
        yield ok(Text("APP_ENV={}", settings.app_env))


# -- The modules of tasks: those that cannot be imported, and what tasks need that is not there ------------------------


def check_tasks(settings: Settings) -> Iterator[Finding]:
    """Import all modules."""
    try:
        check_task_modules(settings)
        found, findings = read_tasks()
        check_queue_shares(settings.queue_shares)
    except ConfigurationError as error:
        yield fail(Text("{}", str(error).removeprefix("configuration: ")), Text("correct the setting"))
        return
    for finding in findings:
        yield fail(Text("{}: {}", finding.what, finding.reason), Text("correct {}", finding.place))
    missing = {name: kind.missing_settings(settings) for name, kind in found.items()}
    yield ok(Text("{} tasks can be created", sum(not each for each in missing.values())))
    if unset := sorted({each for names in missing.values() for each in names}):
        number = sum(bool(each) for each in missing.values())
        yield ok(Text("{} more can be created once these are set: {}", number, ", ".join(unset)))
    yield from missing_extras(found)


def missing_extras(found: Container[str]) -> Iterator[Finding]:
    """Yield each extra without whose packages tasks are left out of the catalogue."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for name, extra in EXTRAS.items():
        if name not in found:
            left_out[extra].append(name)
    for extra, names in left_out.items():
        yield warn(
            Text("tasks are left out, as their packages are not installed: {}", ", ".join(names)),
            Text("pip install 'task-service[{}]'", extra),
        )


# -- Where bytes are kept: the storage of files, and the room on the disks of this machine -----------------------------

CONTENT = b"written by python -m app doctor"
WARN_BYTES, FAIL_BYTES = 1024**3, 64 * 1024**2
MEBIBYTE = 1024**2


def check_storage(settings: Settings) -> Iterator[Finding]:
    """Write, read and delete a small content."""
    shown = redact_text(settings.storage_url)
    storage = Storage(settings.storage_url)
    directory = storage.directory
    if directory is not None and not directory.exists():
        yield from _to_be_made(directory)
        return
    remedy = Text("let the role of API and workers write there, or correct STORAGE_URL: docs/files.md")
    # At the top: a directory that another user makes below it may shut out API and workers.
    key = f"doctor-{uuid4()}"
    try:
        storage.write(key, [CONTENT])
        is_whole = storage.read(key, 0, len(CONTENT)) == CONTENT
        storage.delete([key])
    except (ServiceError, OSError) as error:
        yield fail(Text("{}: {}", shown, told(error.__cause__ or error)), remedy)
        return
    yield (
        ok(Text("{} takes and gives contents", shown))
        if is_whole
        else fail(Text("{} gives other bytes", shown), remedy)
    )


def check_disks(settings: Settings) -> Iterator[Finding]:
    """Look at the free room of each disk that has a directory of the service."""
    named = {"STORAGE_URL": Storage(settings.storage_url).directory, ".data": ROOT / ".data"}
    if settings.database_url is not None and settings.database_engine == SQLITE:
        named["DATABASE_URL"] = Path(str(engine().url.database)).parent
    disks: dict[int, tuple[str, Path]] = {}
    for name, directory in named.items():
        if directory is not None and directory.exists():
            disks.setdefault(directory.stat().st_dev, (name, directory))
    for name, directory in disks.values():
        yield room_on_disk(name, shutil.disk_usage(directory).free)
    if not disks:
        yield ok(Text("this machine has no directory of the service"))


def room_on_disk(name: str, free: int) -> Finding:
    """Return whether so many free bytes are enough. `name` is the setting or directory that uses the disk."""
    seen = Text("{} MiB are free on the disk of {}", free // MEBIBYTE, name)
    remedy = Text("make room, or use a larger disk")
    return fail(seen, remedy) if free < FAIL_BYTES else warn(seen, remedy) if free < WARN_BYTES else ok(seen)


def _to_be_made(directory: Path) -> Iterator[Finding]:
    """Yield whether the first file can make the directory. Made here, it would belong to the user of this command."""
    parent = next(each for each in directory.parents if each.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        yield ok(Text("{} is made with the first file", directory))
    else:
        yield fail(
            Text("{} does not exist, and {} is not writable", directory, parent),
            Text("make the directory, writable for API and workers, or correct STORAGE_URL"),
        )
