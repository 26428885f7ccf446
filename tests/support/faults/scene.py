"""A deployment under faults: ledger tasks, the ids that were answered 201, and the witness of it all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.report.recorded import is_promised
from tests.support.faults.failpoints import failpoints
from tests.support.faults.histories import Line, read_ledger
from tests.support.faults.invariants import Witness
from tests.support.running import SECONDS, TASKS, TERMINAL, Running
from tests.support.services import Services
from tests.support.spelling import id_of
from tests.support.stack import Stack
from tests.support.waiting import wait_for

LEDGER = "tests.support.ledger_tasks"
LOAD_LEDGER = {"TASK_MODULES": f'["{LEDGER}"]'}
# Small, so that a lost worker is noticed within a test's time; defaults where a criterion names a time.
SHORT_LEASE = {"WORKER_LEASE_SECONDS": "6"}
# As deployed: where a criterion counts in seconds of it, and where the lease must play no part.
DEFAULT_LEASE = {"WORKER_LEASE_SECONDS": "30"}


@contextmanager
def fault_scene(services: Services, directory: Path, **settings: str) -> Iterator["Scene"]:
    """Settings win over short leases; a part's own go to `scene.stack.worker(env=…)`."""
    directory.mkdir(parents=True, exist_ok=True)
    with Stack(services, directory, **{**LOAD_LEDGER, **SHORT_LEASE, **settings}) as stack:
        yield Scene(stack)


class Scene(Running):
    """As Running, with ledger tasks: `scene.work(seconds=0.1)`, `scene.create("ledger.gate", gate=str(gate))`.

    `scene.accepted` holds what was answered 201; `scene.check()` waits until all of it has ended and has the witness
    look at it.
    """

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.witness = Witness(stack).install()
        self.ledger = stack.directory / "ledger"
        self.accepted: list[str] = []

    def body(self, name: str, **options: Any) -> dict[str, Any]:
        """What to POST for a ledger task: its own arguments by name, TaskCreate's fields in `fields`."""
        fields = options.pop("fields", {})
        kwargs = {"ledger": str(self.ledger), **options}
        return {"name": name, "task_type": "fault", "celery_task_name": name, "kwargs": kwargs, **fields}

    def create(self, name: str, /, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> str:
        """Create a ledger task; its id, once answered 201."""
        assert not args, "a ledger task's arguments are named"
        answer = self.http.post(TASKS, json=self.body(name, **(kwargs or {}), **options))
        assert answer.status_code == 201, answer.text
        self.accepted.append(str(answer.json()["id"]))
        return self.accepted[-1]

    def create_together(self, *bodies: dict[str, Any]) -> list[str]:
        """Create several in one transaction; their ids, in this order."""
        answer = self.http.post(f"{TASKS}batch", json={"tasks": list(bodies)})
        assert answer.status_code == 201, answer.text
        ids = [str(task["id"]) for task in answer.json()["tasks"]]
        self.accepted += ids
        return ids

    def work(self, **options: Any) -> str:
        return self.create("ledger.work", **options)

    def lines(self, task_id: str | None = None, event: str | None = None) -> list[Line]:
        return [
            line for line in read_ledger(self.ledger) if task_id in (None, line.task_id) and event in (None, line.event)
        ]

    def started(self, task_id: str, times: int = 1, seconds: float = SECONDS) -> Line:
        """The last of so many starts of its body, once there are so many."""
        wait_for(lambda: len(self.lines(task_id, "start")) >= times, seconds, f"start {times} of {task_id}")
        return self.lines(task_id, "start")[times - 1]

    def unended(self) -> list[str]:
        """The accepted tasks that are still in the table and not at their end, straight from the database."""
        query = f"SELECT id FROM tasks WHERE status NOT IN {TERMINAL}"
        waiting = {str(id_of(row[0])) for row in self.stack.sql(query)}
        return [task_id for task_id in self.accepted if task_id in waiting]

    def check(self, seconds: float = SECONDS, deleted: tuple[str, ...] = ()) -> None:
        """All that was accepted ends by itself, and every invariant holds."""
        with is_promised():
            wait_for(lambda: not self.unended(), seconds, "every accepted task to end")
        self.witness.check(self.accepted, self.ledger, deleted)

    def ran_once(self, ids: Sequence[str]) -> None:
        """Of each exactly one body has begun, which succeeded, and everything else holds too.

        An attempt that was handed back before its body began costs the task nothing.
        """
        self.check()
        rows = self.stack.sql("SELECT id, status, crashes, failures FROM tasks")
        ended = {str(id_of(row[0])): tuple(row[1:]) for row in rows}
        begun = Counter(line.task_id for line in self.lines(event="start"))
        with is_promised():
            assert {ended[task_id] for task_id in ids} == {("succeeded", 0, 0)}
            assert {begun[task_id] for task_id in ids} == {1}


def post(running: Scene) -> int:
    """One task more; the answer's status, which is 201 or says that there is no database."""
    answer = running.http.post(TASKS, json=running.body("ledger.work"))
    if answer.status_code == 201:
        running.accepted.append(str(answer.json()["id"]))
    else:
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), answer.text
    return answer.status_code


@contextmanager
def doomed(
    running: Scene, at: str, when: str, modules: tuple[str, ...] = (LEDGER,), concurrency: int = 1
) -> Iterator[Callable[[], object]]:
    """A worker, of which the first process that comes to a named point dies; yields a wait for the death."""
    once = running.stack.directory / f"died-{len(running.stack.parts)}"
    point = {"at": at, "when": when, "do": "kill", "once_file": str(once)}
    worker = running.stack.worker(concurrency, env=failpoints(point, modules=modules))
    try:
        yield lambda: wait_for(once.exists, 30, "it to die")
    finally:
        worker.stop()


def counts(running: Scene, task_id: str) -> tuple[Any, ...]:
    """Its status, attempt, crashes and failures."""
    query = "SELECT status, attempt, crashes, failures FROM tasks WHERE id = :id"
    return tuple(running.stack.sql(query, id=task_id)[0])
