"""Waits for the end of a task as `GET /tasks/{id}?wait=` does, and tells of its progress meanwhile."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import anyio

from app.errors import TaskNotFound, TooManyStreams
from app.live.streams import Credential
from app.live.watcher import Watcher
from app.services.accounts.auth_service import Principal

# Is given the progress in percent, each time a higher one.
Report = Callable[[int], Awaitable[None]]


async def wait_for_end(watcher: Watcher, task_id: UUID, user: Principal, seconds: float, report: Report | None) -> None:
    """Return when the task has ended or was deleted, after `seconds`, or on shutdown.

    With `report`, the wait is one of the event streams of its user (EVENTS_STREAMS_PER_USER), and also returns when the
    key is revoked. Beyond their number the progress is left out.
    """
    if report is None or not await _report_until_end(watcher, task_id, user, seconds, report):
        await watcher.wait_for_end(task_id, seconds)


async def _report_until_end(watcher: Watcher, task_id: UUID, user: Principal, seconds: float, report: Report) -> bool:
    """Return False at once if there may be no further stream."""
    assert user.api_key_id is not None
    credential = Credential(user.api_key_id, is_key=True, role=user.role, expires_at=None)
    try:
        stream = await watcher.follow(task_id, user.id, user.owner, credential, None)
    except TooManyStreams:
        return False
    except TaskNotFound:  # deleted meanwhile: the caller finds that out
        return True
    assert stream is not None  # nothing was seen before
    told = 0
    try:
        with anyio.move_on_after(seconds):
            while (frame := await stream.next_frame()) is not None:
                # Each notification must tell more than the one before, and an attempt that is repeated begins at 0.
                if frame.progress > told:
                    told = frame.progress
                    await report(told)
    finally:
        watcher.leave(stream)
    return True
