"""Where the contents of files and artifacts are: a directory, or a bucket of S3, at STORAGE_URL (docs/adr/0061).

Each has a key of its own. obstore writes and reads them, a directory as S3: what is written is there whole, or not at
all. It starts threads at its first call, and these are not there in a forked child, which would wait for them for ever.
So no process calls it that forks afterwards: the worker's parent has another process delete from S3
(`app/services/files/deletion.py`). From a directory any process deletes, without obstore.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from app.core.config import get_settings
from app.core.fork import PerProcess
from app.errors import ContentMissing, StorageFull, StorageUnavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

logger = logging.getLogger(__name__)

# Of one read, and of one part of a write: a part of S3 has 5 MiB at least. Two parts are under way at once.
READ_BYTES, PART_BYTES, S3_PART_BYTES, PARTS = 1024 * 1024, 1024 * 1024, 5 * 1024 * 1024, 2
# How often and how long a call to S3 is repeated; S3's own timeouts are of obstore.
_RETRIES, _RETRY_SECONDS = 3, 10
_IS_FULL = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122", "QuotaExceeded")
FILE, S3 = "file", "s3"

# The process that has called obstore first: a child that it forks afterwards must not.
_called_by: list[int] = []


def key_of(content_id: UUID) -> str:
    """Return the key of a content: a directory has a 256th of them."""
    return f"{content_id.hex[-2:]}/{content_id}"


class Storage:
    """The contents at one URL. Raises StorageUnavailable, StorageFull, ContentMissing."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._is_local = parts.scheme == FILE
        self.directory = Path(unquote(parts.path)).absolute() if self._is_local else None
        self._url = self.directory.as_uri() if self.directory is not None else url
        self._part_bytes = PART_BYTES if self._is_local else S3_PART_BYTES
        self._opened: ObjectStore | None = None

    @property
    def _store(self) -> Any:
        if _called_by and _called_by[0] != os.getpid():
            raise StorageUnavailable("This process was forked after its parent has used the storage")
        if self._opened is None:
            from obstore.store import from_url

            retries: Any = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
            options: Any = {"mkdir": True} if self._is_local else {"retry_config": retries}
            try:
                with _storage_errors():
                    self._opened = from_url(self._url, **options)
            except OSError as error:  # of the directory
                raise StorageUnavailable from error
            _called_by[:] = [os.getpid()]
        return self._opened

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        """Keep these bytes. What the iterable raises leaves nothing, and is raised.

        It runs in the caller's thread, and may itself read the storage: obstore, which must not be called from within
        its own calls, is in another one.
        """
        import obstore

        handed = Handed()
        with ThreadPoolExecutor(1, "storage") as thread:
            written = thread.submit(obstore.put, self._store, key, handed, **self._options)
            written.add_done_callback(lambda _: handed.close())
            try:
                for piece in pieces:
                    handed.put(piece)
                handed.put(None)
            except BaseException as error:
                handed.put(error)
                raise
            with _storage_errors():
                written.result()

    async def write_async(self, key: str, pieces: AsyncIterable[bytes]) -> None:
        """Write as `write`, in an event loop."""
        import obstore

        with _storage_errors():
            await obstore.put_async(self._store, key, pieces, **self._options)

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from this place on, as far as there are so many."""
        import obstore

        with _storage_errors():
            return bytes(obstore.get_range(self._store, key, start=start, length=length)) if length else b""

    def pieces(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`."""
        for at, length in _pieces(start, end):
            yield self.read(key, at, length)

    async def pieces_async(self, key: str, start: int, end: int) -> AsyncIterator[memoryview]:
        """Yield as `pieces`, in an event loop."""
        import obstore

        for at, length in _pieces(start, end):
            with _storage_errors():
                piece = await obstore.get_range_async(self._store, key, start=at, length=length)
            yield memoryview(piece)

    @property
    def deletes_in_process(self) -> bool:
        """Return whether any process may delete, also one that forks."""
        return self._is_local

    def delete(self, keys: Sequence[str]) -> None:
        """Delete these contents, as far as they are there, and what a process that was killed has left of one."""
        for key in keys:
            path = self.path(key)
            if path is None:
                self._delete_object(key)
            else:
                _unlink(path)

    def _delete_object(self, key: str) -> None:
        import obstore

        with _storage_errors(), suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def path(self, key: str) -> Path | None:
        """Return the file of a content; None where the storage is no directory."""
        return None if self.directory is None else self.directory / key

    @property
    def _options(self) -> Any:
        return {"use_multipart": True, "chunk_size": self._part_bytes, "max_concurrency": PARTS}


class Handed:
    """Pieces that one thread hands to another, PARTS at a time: the other one iterates over it."""

    def __init__(self) -> None:
        self._queue: deque[bytes | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, piece: bytes | BaseException | None) -> None:
        """Hand on a piece, the end, or what ends it. Waits for room, until the other thread has done."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._queue) < PARTS or not isinstance(piece, bytes))
            self._queue.append(piece)
            self._changed.notify_all()

    def close(self) -> None:
        """Note that nobody takes any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue))
                piece = self._queue.popleft()
                self._changed.notify_all()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise RuntimeError("the content ended with an error") from piece  # noqa: TRY004 (it is no wrong type)
            yield piece


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    for at in range(start, end, READ_BYTES):
        yield at, min(READ_BYTES, end - at)


def _unlink(path: Path) -> None:
    """Delete a file or a link, and never what a link names. Raises StorageUnavailable, also for a directory."""
    try:
        path.unlink(missing_ok=True)
        for part in path.parent.glob(f"{path.name}#*"):  # obstore writes to such a file, and renames it at the end
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StorageUnavailable from error


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Raise the errors of obstore as the service's own."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise ContentMissing from error
    except (BaseError, PermissionError) as error:
        text = str(error)
        # The client is not told of keys and hosts: the operator is.
        logger.warning("the storage at STORAGE_URL does not work: %s", text.partition("\n")[0])
        raise (StorageFull if any(each in text for each in _IS_FULL) else StorageUnavailable) from error


storage = PerProcess(lambda: Storage(get_settings().storage_url))
