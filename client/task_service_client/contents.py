"""What is uploaded, and the file that a download becomes."""

import hashlib
import mimetypes
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

BINARY = "application/octet-stream"
Source = str | os.PathLike[str] | bytes | BinaryIO


@dataclass(frozen=True)
class Content:
    """An open file to upload."""

    name: str
    file: BinaryIO

    @property
    def content_type(self) -> str:
        return mimetypes.guess_type(self.name)[0] or BINARY


@contextmanager
def content_of(source: Source, name: str | None) -> Iterator[Content]:
    """Open a source: a path, bytes, or an open file, which stays open. Raises OSError."""
    if isinstance(source, bytes):
        yield Content(name or "file", BytesIO(source))
    elif isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield Content(name or Path(source).name, file)
    else:
        yield Content(name or Path(str(getattr(source, "name", "file"))).name, source)


def target_of(path: Path, name: str) -> Path:
    """Return the path of a download to `path`: in a directory the file's name, which its author has chosen.

    A symbolic link is followed. Raises ValueError for a name that a directory should not get so, FileExistsError, and
    SpecialFileError for a device or a pipe, which a file would replace.
    """
    if not path.is_dir():
        found = Path(os.path.realpath(path)) if path.is_symlink() else path
        if found.exists() and not found.is_file():
            raise shutil.SpecialFileError(f"{path} is no regular file, and stays as it is: name another one")
        return found
    if name != Path(name).name or name.startswith(".") or not name.isprintable():
        raise ValueError(f"{name!r} is no name for a file here: name the file to write to")
    if (path / name).exists():
        raise FileExistsError(f"{path / name} is there: name the file to write to")
    return path / name


class Part:
    """The bytes of a download that have come so far, beside the file that they become."""

    def __init__(self, target: Path, file: BinaryIO, path: Path) -> None:
        self._target, self._file, self._path = target, file, path
        self.size, self._hash = 0, hashlib.sha256()

    def restart(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self._hash = 0, hashlib.sha256()

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Give the file its name."""
        self._file.close()
        self._path.replace(self._target)


@contextmanager
def part_of(target: Path) -> Iterator[Part]:
    """Open a file beside `target`, which is gone at the end unless it is finished. Raises OSError.

    It has the mode of the file that it replaces.
    """
    path = target.with_name(f".task-service-{secrets.token_hex(8)}.part")
    try:
        with path.open("xb") as file:
            if target.exists():
                shutil.copymode(target, path)
            yield Part(target, file, path)
    finally:
        path.unlink(missing_ok=True)
