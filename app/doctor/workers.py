"""Checks of what works: workers, the queues that they serve, maintenance, beat."""

from collections.abc import Iterator
from datetime import timedelta

from app.beat import periods
from app.core.config import Settings
from app.core.version import VERSION
from app.db.session import SessionLocal
from app.doctor.findings import Finding, fail, ok, warn
from app.errors import Text
from app.messaging.application import celery_app
from app.models.worker import WorkerState
from app.services.operations.metrics import maintenance_seconds
from app.services.operations.queue_service import QueueState, list_queues
from app.services.operations.worker_service import WorkerInfo, list_workers

# A round begins twice a second. A leader that dies is replaced after its lease.
LATE_ROUND_SECONDS = 10.0
LATE_PERIOD = 1.1


def check_workers() -> Iterator[Finding]:
    """Read the heartbeats."""
    with SessionLocal() as db:
        yield from worker_findings(list_workers(db))


def check_queues() -> Iterator[Finding]:
    """Look for queues that no living worker serves."""
    with SessionLocal() as db:
        yield from queue_findings(list_queues(db))


def check_maintenance(settings: Settings) -> Iterator[Finding]:
    """Look when the last round of maintenance began, in whichever worker or beat."""
    with SessionLocal() as db:
        seconds = maintenance_seconds(db)
    remedy = Text("start a worker or beat: each of them can run maintenance")
    if seconds == float("inf"):
        yield fail(Text("it has never run"), remedy)
    elif seconds > max(LATE_ROUND_SECONDS, 3 * settings.maintenance_lease_seconds):
        yield fail(Text("its last round began {} ago", _time(seconds)), remedy)
    else:
        yield ok(Text("its last round began {} ago", _time(seconds)))


def check_beat() -> Iterator[Finding]:
    """Look whether the periodic tasks have fired. Beat sends no heartbeat: a short absence cannot be seen."""
    with SessionLocal() as db:
        fired = periods.seconds_since_fired(db)
    entries = {name: entry["schedule"] for name, entry in celery_app.conf.beat_schedule.items()}
    yield from beat_findings({name: each for name, each in entries.items() if isinstance(each, timedelta)}, fired)


def worker_findings(workers: list[WorkerInfo]) -> Iterator[Finding]:
    """Yield which workers live, which are lost, and which are of another release."""
    living = [worker for worker in workers if worker.state != WorkerState.LOST]
    if living:
        yield ok(Text("{} alive: {}", len(living), ", ".join(worker.name for worker in living)))
    else:
        yield fail(
            Text("no worker sends heartbeats: no task starts"), Text("start one: `python -m app worker -l info`")
        )
    for worker in workers:
        if worker.state == WorkerState.LOST:
            yield warn(
                Text("{} was lost: its last heartbeat was at {}", worker.name, f"{worker.last_heartbeat_at:%F %TZ}"),
                Text("look at its machine; its tasks run again elsewhere"),
            )
        elif worker.version not in (None, VERSION):
            yield warn(
                Text("{} runs version {}, and this is {}", worker.name, worker.version, VERSION),
                Text("restart it with the new release"),
            )


def queue_findings(queues: list[QueueState]) -> Iterator[Finding]:
    """Yield the queues that no living worker serves: with due tasks, and without."""
    without = [queue for queue in queues if not queue.workers]
    remedy = Text("start a worker that serves them: `python -m app worker -l info -Q {}`", _names(without))
    waiting = [queue for queue in without if queue.startable]
    idle = [queue for queue in without if not queue.startable]
    if waiting:
        yield fail(Text("due tasks wait in queues without a worker: {}", _names(waiting)), remedy)
    if idle:
        yield warn(Text("queues without a worker: {}", _names(idle)), remedy)
    if not without:
        yield ok(Text("each has a worker: {}", _names(queues)))


def beat_findings(entries: dict[str, timedelta], fired: dict[str, float]) -> Iterator[Finding]:
    """Yield the entries that have not fired for longer than their period."""
    remedy = Text("start beat: `python -m app beat -l info`")
    unknown = [name for name in entries if name not in fired]
    overdue = {
        name: fired[name]
        for name, period in entries.items()
        if name in fired and fired[name] > LATE_PERIOD * period.total_seconds()
    }
    if unknown:
        yield warn(Text("never sent: {}", ", ".join(unknown)), remedy)
    for name, seconds in overdue.items():
        yield warn(Text("{} was last sent {} ago", name, _time(seconds)), remedy)
    if not unknown and not overdue:
        yield ok(Text("no periodic task is late"))


def _names(queues: list[QueueState]) -> str:
    return ",".join(queue.name for queue in queues)


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < LATE_ROUND_SECONDS else str(timedelta(seconds=round(seconds)))
