"""Receives the file of an upload: its row, its bytes, its row again. What goes wrong on the way leaves nothing."""

import time
from collections.abc import AsyncIterator
from uuid import UUID

from anyio import CancelScope, to_thread
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from app.api.http.body_limits import content_length
from app.api.http.contents import in_session
from app.api.http.turns import check_rights_again
from app.api.http.uploads import Upload
from app.errors import FileNotFound, ServiceError
from app.models.stored_file import StoredFile
from app.services.file_service import StartedFile, file_service
from app.storage import key_of, storage

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
