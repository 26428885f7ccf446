"""Tasks as they change: one by its own stream, several by the stream of all."""

import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from task_service_client._async.transport import AsyncTransport
from task_service_client.adapters import parsed, tasks_of
from task_service_client.errors import ApiError
from task_service_client.events import Event
from task_service_client.models import Task
from task_service_client.requests import ENDED, PAGE, TASKS

NOT_FOUND = 404
# So many tasks are asked for one by one.
FEW = 20
# How often some are asked for, whatever the stream says: a deleted one has no events, nor has one of another user.
LOOK_SECONDS = 20.0


async def watch_one(transport: AsyncTransport, task_id: str) -> AsyncIterator[Task]:
    """Yield the task, and again whenever it changes, until it has ended."""
    version = -1
    async for event in transport.events(f"{TASKS}{task_id}/events"):
        if event.name == "task":
            task = parsed(Task, event.data)
            if task.version > version:
                version = task.version
                yield task
            if task.status in ENDED:
                return


async def watch_all(transport: AsyncTransport, task_ids: Sequence[str]) -> AsyncIterator[Task]:
    """As `watch_one`, of several tasks, by one stream of all tasks of the user."""
    watched = _Watched(transport, dict.fromkeys(task_ids, -1))
    if not task_ids:
        return
    async for event in transport.events(f"{TASKS}events"):
        for task in await watched.news(event):
            yield task
        if not watched.left:
            return


@dataclass
class _Watched:
    """Tasks that have not ended, each with the version that was shown last."""

    transport: AsyncTransport
    left: dict[str, int]
    looked: float = field(default_factory=time.monotonic)

    async def news(self, event: Event) -> list[Task]:
        """Return the tasks that this event shows in a newer version, or that are asked for because of it."""
        found: list[Task] = []
        if event.name == "task":
            found += self._newer([parsed(Task, event.data)])
        elif event.name == "reset" or (event.name == "open" and event.id is None):
            found += self._newer(await self._now([*self.left]))
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return found
        some = [*self.left][:FEW]
        for each in some:
            self.left[each] = self.left.pop(each)  # others, the next time
        self.looked = time.monotonic()
        return found + self._newer(await self._now(some))

    def _newer(self, tasks: Iterable[Task]) -> list[Task]:
        found = [task for task in tasks if task.version > self.left.get(str(task.id), task.version)]
        for task in found:
            self.left[str(task.id)] = task.version
            if task.status in ENDED:
                del self.left[str(task.id)]
        return found

    async def _now(self, task_ids: Sequence[str]) -> list[Task]:
        """Return these tasks as they are. Those that there are not are left no longer."""
        found = await _listed(self.transport, task_ids) if len(task_ids) > FEW else []
        known = {str(task.id) for task in found}
        for task_id in task_ids:
            if task_id in known:
                continue
            try:
                answer = await self.transport.request("GET", f"{TASKS}{task_id}")
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
                del self.left[task_id]
            else:
                found.append(parsed(Task, answer.content))
        return found


async def _listed(transport: AsyncTransport, wanted: Collection[str]) -> list[Task]:
    """Return those of these tasks that the list of the newest ones has."""
    found: list[Task] = []
    oldest = min(wanted)  # ids sort by time
    async for answer in transport.pages(TASKS, {"limit": PAGE}):
        page = tasks_of(answer.content)
        found += [task for task in page if str(task.id) in wanted]
        if len(found) == len(wanted) or not page or str(page[-1].id) <= oldest:
            break
    return found
