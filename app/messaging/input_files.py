"""`InputFile`: a parameter of a task that names a file. A request has its id; the body gets the file."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from uuid import UUID

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

FORMAT = "file-id"
_BUFFER_BYTES = 1024 * 1024


class Content(Protocol):
    """Where the bytes of a file are, for an attempt."""

    def read(self, start: int, length: int) -> bytes:
        """Return so many bytes from this place on."""

    def path(self) -> Path:
        """Return a file with the bytes, which is there for the time of the body."""


class FoundFile(NamedTuple):
    """What is known of a file, and its bytes."""

    id: UUID
    name: str
    size: int
    sha256: str
    content_type: str
    content: Content


class InputFile:
    """A file or an artifact, as the body of a task gets it for a parameter that is annotated with this class.

    It is there while the attempt runs. Outside of one, as after `.delay()`, only `id` is known.
    """

    def __init__(self, file_id: UUID, found: FoundFile | None = None) -> None:
        self.id = file_id
        self._known = found

    def __repr__(self) -> str:
        return f"<InputFile {self.id}>"

    @property
    def name(self) -> str:
        """The file's name, as it was uploaded or saved."""
        return self._found.name

    @property
    def size(self) -> int:
        """Return its bytes."""
        return self._found.size

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, in hexadecimal digits."""
        return self._found.sha256

    @property
    def content_type(self) -> str:
        """Return its media type, as the upload or the body that saved it has named it."""
        return self._found.content_type

    def open(self) -> BinaryIO:
        """Return its bytes as a binary file to read, which can seek. Raises StorageUnavailable, ContentMissing."""
        return io.BufferedReader(_Reader(self._found), _BUFFER_BYTES)

    def path(self) -> Path:
        """Return the path of a file with its bytes, under its name. It is there for the time of the body; only read it.

        Raises StorageUnavailable, ContentMissing.
        """
        return self._found.content.path()

    @property
    def _found(self) -> FoundFile:
        if self._known is None:
            raise RuntimeError(f"the file {self.id} can be read only by the task that a request has created with it")
        return self._known

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Declare it as its id, a text, in JSON."""
        return core_schema.no_info_after_validator_function(
            _input_file, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "format": FORMAT}


class _Reader(io.RawIOBase):
    def __init__(self, found: FoundFile) -> None:
        self._file, self._at = found, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if origin + offset < 0:
            raise ValueError(f"there is no place {origin + offset} in a file")
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), max(0, self._file.size - self._at))
        piece = self._file.content.read(self._at, length) if length else b""
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


# What becomes of the ids that a validation meets.
_look: ContextVar[Callable[[UUID], InputFile]] = ContextVar("look", default=InputFile)


def _input_file(text: str) -> InputFile:
    try:
        file_id = UUID(text)
    except ValueError:
        file_id = None
    if file_id is None or str(file_id) != text:
        raise ValueError("is not the id of a file")
    return _look.get()(file_id)


@contextmanager
def looking(look: Callable[[UUID], InputFile]) -> Iterator[None]:
    """Have `look` give the files of all arguments that are validated meanwhile. A ValueError of it refuses one."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


@contextmanager
def collecting() -> Iterator[dict[UUID, None]]:
    """Give the ids of the files in the arguments that are validated meanwhile."""
    found: dict[UUID, None] = {}

    def note(file_id: UUID) -> InputFile:
        found[file_id] = None
        return InputFile(file_id)

    with looking(note):
        yield found
