"""The body of an upload, read piece by piece and kept: multipart/form-data with one part, a file (RFC 7578).

Starlette's own parser writes each file to a temporary one, before the endpoint sees it. Here the pieces go on to the
storage as they come.
"""

import base64
import binascii
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

from anyio import CancelScope, to_thread
from fastapi import HTTPException, Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.api.http.contents import in_session
from app.api.http.peers import BODY_TAKEN
from app.api.http.requests import content_length, drain_body
from app.api.http.turns import check_rights_again
from app.errors import FileNotFound, InvalidUpload, ServiceError, Text
from app.models.stored_file import StoredFile
from app.services.files.contents import Measure, TooLarge, media_type, name_fault
from app.services.files.service import StartedFile, file_service
from app.storage import key_of, storage

FIELD = b"file"
# Of all that surrounds the file. The parser bounds the headers of the part.
AROUND_BYTES = 64 * 1024
_BOUNDARY = re.compile(rb"[\x20-\x7e]{1,70}")  # RFC 2046 §5.1.1
# A dictionary of RFC 9530 with one member of interest.
_SHA_256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*(:?)([A-Za-z0-9+/=]*)(:?)\s*(?:[;,]|$)", re.IGNORECASE)


class Upload:
    """The file in the body of a request. Read `head` first, then `pieces`, then `check`.

    Raises HTTPException 413 and 415, InvalidUpload, Starlette's ClientDisconnect.
    """

    def __init__(self, request: Request, most_bytes: int) -> None:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data":
            raise HTTPException(415, "The body is no file: send multipart/form-data with one field, `file`")
        if not _BOUNDARY.fullmatch(boundary):
            raise InvalidUpload.at(["file"], "the Content-Type names no boundary")
        self._receive, self._is_read = request.receive, False
        self._chunks = Request(request.scope, self._receive_and_note).stream()
        # What is on its way to the storage is not held for the client any more: a file is larger than that may be.
        self._taken: Callable[[int], None] = (
            request.scope.get("extensions", {}).get(BODY_TAKEN, {}).get("call", _take_nothing)
        )
        self._held = self._fed = 0
        self._tail_bytes = len(b"\r\n--") + len(boundary) + len(b"--")
        self.content, self._most = Measure(most_bytes), most_bytes
        self._wanted = _digest_of(request.headers.get("content-digest"))
        self._whole = None if self._wanted is None else hashlib.sha256()
        self._part_digest: bytes | None = None
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._pieces: list[bytes] = []
        self._parts = 0
        self._has_head = self._is_over = False
        self._parser = MultipartParser(boundary, {
            "on_part_begin": self._on_part,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        })  # fmt: skip

    async def head(self) -> tuple[str, str]:
        """Return the name and the media type of the file, which stand before its first byte."""
        while not self._has_head:
            if self._is_over:
                raise InvalidUpload.at(["file"], "the form has one field, `file`, with a filename")
            await self._feed()
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") != FIELD or b"filename" not in options:
            raise InvalidUpload.at(["file"], "the form has one field, `file`, with a filename")
        try:
            name = options[b"filename"].decode()
        except UnicodeDecodeError:
            raise InvalidUpload.at(["file"], "the filename is not UTF-8") from None
        if fault := name_fault(name):
            raise InvalidUpload.at(["file"], fault)
        self._part_digest = _digest_of(self._headers.get(b"content-digest", b"").decode("latin-1"))
        return name, media_type(self._headers.get(b"content-type", b"").decode("latin-1"))

    def file_bytes(self, length: int) -> int:
        """Return how many bytes the file has by the length of the body. Call it behind `head`."""
        around = self._fed - sum(map(len, self._pieces)) + (0 if self._is_over else self._tail_bytes)
        return max(0, length - around)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file as they come."""
        while self._pieces or not self._is_over:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                try:
                    yield self.content.add(piece)
                except TooLarge:
                    raise HTTPException(413, Text("The file is larger than {} bytes", self._most)) from None
            if not self._pieces and not self._is_over:
                await self._feed()

    async def check(self) -> None:
        """Compare what has come with its digests (RFC 9530): the whole body is what follows the form, too."""
        if self._whole is not None:
            async for chunk in self._chunks:
                self._whole.update(chunk)
        if self._part_digest is not None and self._part_digest != self.content.digest:
            raise InvalidUpload.at(["file"], "the file is another one than its Content-Digest says")
        if self._whole is not None and self._wanted != self._whole.digest():
            raise InvalidUpload.at(["file"], "the body is another one than its Content-Digest says")

    async def discard(self) -> None:
        """Read what is left of a body that is refused, within limits: else the client would not read the answer."""
        if not self._is_read:
            await drain_body(self._receive)

    async def _receive_and_note(self) -> Message:
        message = await self._receive()
        self._is_read = not message.get("more_body", False)
        return message

    async def _feed(self) -> None:
        self._taken(self._held)
        chunk = await anext(self._chunks, b"")
        self._held = len(chunk)
        self._fed += len(chunk)
        if self._whole is not None:
            self._whole.update(chunk)
        try:
            if chunk:
                self._parser.write(chunk)
            else:
                raise InvalidUpload.at(["file"], "the body ends before its form does")
        except MultipartParseError:
            raise InvalidUpload.at(["file"], "the body is no multipart form") from None

    # Called by the parser.

    def _on_part(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise InvalidUpload.at(["file"], "the form has one field, `file`, with a filename")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers(self) -> None:
        self._has_head = True

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _on_end(self) -> None:
        self._is_over = True


def _take_nothing(_: int) -> None:
    """Do nothing, on a server without the extension."""


def _digest_of(header: str | None) -> bytes | None:
    """Return the SHA-256 that a Content-Digest names; None where it names none. Raises InvalidUpload."""
    found = _SHA_256.search(header) if header else None
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        digest = b""
    if not (found[1] and found[3]) or len(digest) != hashlib.sha256().digest_size:
        raise InvalidUpload.at(["file"], "Content-Digest is no digest: write sha-256=:base64 of its 32 bytes:")
    return digest


# -- The whole upload: its row, its bytes, its row again. What goes wrong on the way leaves nothing --------------------

# How often an upload says that it goes on: see `app/db/statements/files.py`.
TOUCH_SECONDS = 30.0


async def receive_file(request: Request, user_id: UUID, most_bytes: int) -> StoredFile:
    """Keep the file in the body of the request for this user, whose rights are looked at again once it is there.

    Raises what `Upload` does, TooManyBytesStored, StorageUnavailable, StorageFull, InvalidToken.
    """
    upload = Upload(request, most_bytes)
    try:
        name, content_type = await upload.head()
        length = content_length(request.scope)
        size = None if length is None else upload.file_bytes(length)
        started = await in_session(file_service.begin, user_id, name, content_type, size)
        try:
            await storage().write_async(key_of(started.id), _accounted(started, upload))
            await upload.check()
            await check_rights_again(request)
            return await in_session(file_service.finish, started, upload.content)
        except BaseException as error:
            with CancelScope(shield=True):
                await in_session(file_service.give_up, started)
                if isinstance(error, FileNotFound):  # too late: maintenance may have looked for the bytes before
                    await to_thread.run_sync(storage().delete, [key_of(started.id)])
            raise
    except ClientDisconnect:
        raise HTTPException(400, "The connection ended before the body did") from None
    except (ServiceError, HTTPException):
        await upload.discard()
        raise


async def _accounted(started: StartedFile, upload: Upload) -> AsyncIterator[bytes]:
    """Yield the pieces, for which quota is reserved, and say now and then that they still come.

    Raises FileNotFound if that is too late, TooManyBytesStored.
    """
    touched = time.monotonic()
    async for piece in upload.pieces():
        if not file_service.reserve_known(started, upload.content.size):
            await in_session(file_service.reserve_up_to, started, upload.content.size)
        if time.monotonic() - touched > TOUCH_SECONDS:
            touched = time.monotonic()
            if not await in_session(file_service.touch, started.id):
                raise FileNotFound
        yield piece
