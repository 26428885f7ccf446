"""Where bytes are kept: the storage of files, and the room on the disks of this machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from app.core.config import Settings
from app.core.engines import SQLITE
from app.core.redacted_text import redact_text
from app.db.session import engine
from app.doctor.findings import Finding, fail, ok, say, warn
from app.doctor.running import told
from app.errors import ServiceError
from app.launcher.options import ROOT
from app.storage import Storage

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
    remedy = say("let the role of API and workers write there, or correct STORAGE_URL: docs/files.md")
    # At the top: a directory that another user makes below it may shut out API and workers.
    key = f"doctor-{uuid4()}"
    try:
        storage.write(key, [CONTENT])
        is_whole = storage.read(key, 0, len(CONTENT)) == CONTENT
        storage.delete([key])
    except (ServiceError, OSError) as error:
        yield fail(say("{}: {}", shown, told(error.__cause__ or error)), remedy)
        return
    yield (
        ok(say("{} takes and gives contents", shown)) if is_whole else fail(say("{} gives other bytes", shown), remedy)
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
        yield room(name, shutil.disk_usage(directory).free)
    if not disks:
        yield ok(say("this machine has no directory of the service"))


def room(name: str, free: int) -> Finding:
    """Return whether so many free bytes are enough. `name` is the setting or directory that uses the disk."""
    seen = say("{} MiB are free on the disk of {}", free // MEBIBYTE, name)
    remedy = say("make room, or use a larger disk")
    return fail(seen, remedy) if free < FAIL_BYTES else warn(seen, remedy) if free < WARN_BYTES else ok(seen)


def _to_be_made(directory: Path) -> Iterator[Finding]:
    """The first file makes the directory. It is not made here: it would belong to the user that runs this command."""
    parent = next(each for each in directory.parents if each.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        yield ok(say("{} is made with the first file", directory))
    else:
        yield fail(
            say("{} does not exist, and {} is not writable", directory, parent),
            say("make the directory, writable for API and workers, or correct STORAGE_URL"),
        )
