"""Tasks as they change: one by its own stream, several by the stream of all."""

from collections.abc import Collection, Iterator, Sequence

from task_service_client._sync.transport import Transport
from task_service_client.adapters import tasks_of
from task_service_client.errors import ApiError
from task_service_client.models import Task
from task_service_client.requests import ENDED, PAGE, TASKS, next_page

NOT_FOUND = 404
# After so many signs of life without an event, one of the tasks is asked for: a deleted one has no events.
QUIET = 2
# So many tasks are asked for one by one.
FEW = 20


def watch_one(transport: Transport, task_id: str) -> Iterator[Task]:
    """Yield the task, and again whenever it changes, until it has ended."""
    version = -1
    for event in transport.events(f"{TASKS}{task_id}/events"):
        if event.name == "task":
            task = Task.model_validate_json(event.data)
            if task.version > version:
                version = task.version
                yield task
            if task.status in ENDED:
                return


def watch_all(transport: Transport, task_ids: Sequence[str]) -> Iterator[Task]:
    """As `watch_one`, of several tasks, by one stream of all tasks of the user."""
    left = dict.fromkeys(task_ids, -1)
    quiet = 0
    if not left:
        return
    for event in transport.events(f"{TASKS}events"):
        fresh: list[Task] = []
        quiet = quiet + 1 if event.name == "" else 0
        if (event.name == "open" and event.id is None) or event.name == "reset":
            fresh = _now(transport, left)
        elif event.name == "task":
            fresh = [Task.model_validate_json(event.data)]
        elif quiet >= QUIET:
            quiet = 0
            first = next(iter(left))
            left[first] = left.pop(first)  # the next one, the next time
            fresh = _now(transport, {first: left[first]})
            if not fresh:
                del left[first]
        for task in fresh:
            task_id = str(task.id)
            if task.version > left.get(task_id, task.version):
                left[task_id] = task.version
                yield task
                if task.status in ENDED:
                    del left[task_id]
        if not left:
            return


def _listed(transport: Transport, wanted: Collection[str]) -> list[Task]:
    """Return those of these tasks that the list of the newest ones has."""
    found: list[Task] = []
    oldest, path = min(wanted), f"{TASKS}?limit={PAGE}"  # ids sort by time
    while path and len(found) < len(wanted):
        answer = transport.request("GET", path)
        page = tasks_of(answer.content)
        found += [task for task in page if str(task.id) in wanted]
        path = next_page(answer) if page and str(page[-1].id) > oldest else ""
    return found


def _now(transport: Transport, wanted: dict[str, int]) -> list[Task]:
    """Return these tasks as they are. Those that there are not are left out, and taken from `wanted`."""
    found = _listed(transport, wanted) if len(wanted) > FEW else []
    for task_id in wanted.keys() - {str(task.id) for task in found}:
        try:
            answer = transport.request("GET", f"{TASKS}{task_id}")
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            del wanted[task_id]
        else:
            found.append(Task.model_validate_json(answer.content))
    return found
