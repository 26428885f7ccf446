"""Files and artifacts of one attempt: what its arguments name, what its body saves, and its temporary directory."""

import mimetypes
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal, transaction
from app.db.statements import files as statements
from app.db.statements.files import Attempt
from app.errors import ArtifactTooLarge, AttemptLost
from app.messaging.input_files import FoundFile, InputFile
from app.models.stored_file import StoredFile
from app.services.files.contents import BINARY, Measure, TooLarge, media_type, name_fault
from app.storage import key_of, storage

T = TypeVar("T")
Deliver = Callable[[Callable[[Any], T]], T]

PIECE_BYTES, NAME_BYTES = 1024 * 1024, 255
GONE = "is the id of no file of the task's user: it was deleted, or its task has not succeeded"


class AttemptFiles:
    """Of one attempt. `deliver` runs a function with a connection, until the database answers."""

    def __init__(self, task_id: UUID, attempt: int, most_bytes: int, deliver: Deliver[Any]) -> None:
        self._of, self._most, self._deliver = Attempt(task_id, attempt), most_bytes, deliver
        self._directory: OwnDirectory | None = None
        # Whether arguments hold results of other tasks: what they name was not noted when the task was created.
        self.notes_uses = False

    def find(self, file_id: UUID) -> InputFile:
        """Return the file that an argument names. Raises ValueError for one that this task may not read."""
        row = self._deliver(lambda db: statements.read_for(db, file_id, self._of.task_id))
        if row is None or not self._notes_use(file_id):
            raise ValueError(GONE)
        content = _Stored(file_id, row[1], row[2], self.directory)
        return InputFile(file_id, FoundFile._make([*row, content]))

    def save(self, name: str, data: Any, content_type: str | None, *, partial: bool) -> UUID:
        """Keep an artifact, and return its id. Raises as `SQLAlchemyTask.save_artifact`."""
        if not isinstance(name, str):
            raise TypeError(f"the name of an artifact is a text, not {type(name).__name__}")
        if fault := name_fault(name):
            raise ValueError(fault)
        kind = media_type(content_type or mimetypes.guess_type(name)[0] or BINARY)
        content, artifact_id = Measure(self._most), new_id()
        with pieces_of(data) as pieces:
            self._held(statements.begin_artifact, artifact_id, self._of, name, kind)
            try:
                storage().write(key_of(artifact_id), content.of(pieces))
            except BaseException as error:
                self._in_session(lambda db: statements.drop(db, StoredFile.id == artifact_id))
                if isinstance(error, TooLarge):
                    raise ArtifactTooLarge(f"{name} is larger than MAX_FILE_BYTES, {self._most} bytes") from None
                raise
        size, sha256 = content.size, content.sha256
        try:
            self._held(statements.finish_artifact, artifact_id, self._of, size, sha256, partial=partial)
        except AttemptLost:
            storage().delete([key_of(artifact_id)])  # maintenance may have looked for the bytes before
            raise
        return artifact_id

    def directory(self) -> Path:
        """Return a directory of the attempt's own, which is there for the time of the body."""
        if self._directory is None:
            delete_left_directories()
            self._directory = OwnDirectory()
        return self._directory.path

    def close(self) -> None:
        """Delete what `InputFile.path` has made."""
        if self._directory is not None:
            self._directory.delete()
            self._directory = None

    def _notes_use(self, file_id: UUID) -> bool:
        if not self.notes_uses:  # nearly always
            return True
        return self._in_session(lambda db: statements.add_use(db, file_id, self._of.task_id))

    def _held(self, write: Callable[..., bool], *args: Any, **named: Any) -> None:
        """Raises AttemptLost where the attempt no longer holds its task."""
        if not self._in_session(lambda db: write(db, *args, **named)):
            raise AttemptLost("the attempt no longer holds its task")

    def _in_session(self, work: Callable[[Session], T]) -> T:
        def once(_: Any) -> T:
            with SessionLocal() as db, transaction(db):
                return work(db)

        found: T = self._deliver(once)
        return found


class _Stored(NamedTuple):
    """A `Content` of the storage."""

    file_id: UUID
    name: str
    size: int
    directory: Callable[[], Path]

    def read(self, start: int, length: int) -> bytes:
        return storage().read(key_of(self.file_id), start, length)

    def path(self) -> Path:
        key = key_of(self.file_id)
        there = self.directory() / str(self.file_id) / _file_name(self.name)
        if not there.exists():
            there.parent.mkdir(exist_ok=True)
            stored = storage().path(key)
            if stored is not None:
                storage().read(key, 0, min(1, self.size))  # raises ContentMissing
                there.symlink_to(stored)
            else:
                part = there.with_name(".part")
                with part.open("wb") as copy:
                    copy.writelines(storage().pieces(key, 0, self.size))
                part.rename(there)
        return there


def _file_name(name: str) -> str:
    """Return the name as a file system takes it, of 255 bytes at most, with its ending."""
    if len(name.encode()) <= NAME_BYTES:
        return name
    ending = PurePath(name).suffix[-20:]
    return name.encode()[: NAME_BYTES - len(ending.encode())].decode(errors="ignore") + ending


@contextmanager
def pieces_of(data: Any) -> Iterator[Iterator[bytes]]:
    """Yield the bytes to keep: those of a text are UTF-8, those of a path its file's. Raises TypeError, OSError."""
    if isinstance(data, str):
        yield iter([data.encode()])
    elif isinstance(data, bytes | bytearray | memoryview):
        yield iter([bytes(data)])
    elif isinstance(data, os.PathLike):
        with Path(data).open("rb") as file:
            yield _read(file)
    elif callable(getattr(data, "read", None)):
        yield _read(data)
    else:
        raise TypeError(f"an artifact is bytes, text, a path or an open file, not {type(data).__name__}")


def _read(file: Any) -> Iterator[bytes]:
    for piece in iter(partial(file.read, PIECE_BYTES), None):
        if not piece:
            return
        yield piece.encode() if isinstance(piece, str) else bytes(piece)


# -- Temporary directories that hold for as long as the process that has made them, and are deleted after it -----------
# A lock says whether that process lives. Its number would not: containers that share the folder of temporary files have
# process numbers of their own.

if sys.platform != "win32":  # where nothing is deleted for another process
    import fcntl

# Not that of earlier versions, which delete directories by process numbers.
_DIRECTORY_PREFIX = "task-service-attempt-"


class OwnDirectory:
    """A new directory, which `delete` deletes; else another process does, once this one has ended."""

    def __init__(self) -> None:
        self._lock: int | None = None
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX))
            self._lock = _locked(self.path, wait=True)
            if self.path.is_dir():
                return
            self._unlock()  # another process has deleted it before it was locked

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def delete_left_directories() -> None:
    """Delete the directories of processes that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY_PREFIX}*"):
        lock = _locked(left, wait=False)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _locked(directory: Path, *, wait: bool) -> int | None:
    """Lock the directory and return its descriptor. None where it is gone, another process has it, or nothing locks."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # some network file systems have no locks: their directories stay
        os.close(descriptor)
        return None
    return descriptor
