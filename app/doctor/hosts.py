"""Compares this host with the others: what each living worker told at its start with what stands here."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from app.core.agreement import BROKER, CLOCK, KEY, STORAGE, settings_to_agree
from app.core.config import Settings
from app.db.session import SessionLocal
from app.doctor.findings import WARN_SECONDS, Finding, fail, of_clock, ok, signed, warn
from app.errors import Text
from app.messaging.application import celery_app
from app.models.worker import WorkerState
from app.services.operations.worker_service import WorkerInfo, list_workers

# So many tasks are named.
SHOWN = 5


def check_hosts(settings: Settings) -> Iterator[Finding]:
    """Read what the workers told."""
    with SessionLocal() as db:
        living = [worker for worker in list_workers(db) if worker.state != WorkerState.LOST]
    yield from host_findings(living, settings_to_agree(settings, mark=False), set(celery_app.tasks))


def host_findings(workers: Sequence[WorkerInfo], here: Mapping[str, str], known: Collection[str]) -> Iterator[Finding]:
    """Yield in what these workers differ from this host, with these settings, that knows these tasks."""
    differ = False
    for worker in workers:
        for finding in [*_of_settings(worker, here), *_of_clock(worker), *_of_tasks(worker, known)]:
            differ = True
            yield finding
    of_workers = [set(worker.task_names) for worker in workers if worker.task_names is not None]
    if len(of_workers) == len(workers) > 0 and (served_by_none := set(known).difference(*of_workers)):
        differ = True
        yield warn(
            Text("no living worker knows {}", _names(served_by_none)),
            Text("set TASK_MODULES for a worker as it is set here, and restart it"),
        )
    if not differ:
        yield ok(Text("{} workers agree with this host", len(workers)))


def _of_settings(worker: WorkerInfo, here: Mapping[str, str]) -> Iterator[Finding]:
    told = worker.facts or {}
    differing = {name for name in here if name in told and told[name] != here[name]}
    if KEY in differing:
        yield fail(
            Text("{} has another SECRET_KEY", worker.name),
            Text("set the same SECRET_KEY in every process, and restart them"),
        )
    if BROKER in differing:
        yield warn(
            Text("{} names the broker {}, and this host {}", worker.name, told[BROKER], here[BROKER]),
            Text("both must be the same server: set CELERY_BROKER_URL"),
        )
    if STORAGE in differing:
        yield fail(
            Text("{} has its files in another storage", worker.name),
            Text("name one directory that all hosts share, or one bucket, as STORAGE_URL"),
        )


def _of_clock(worker: WorkerInfo) -> Iterator[Finding]:
    ahead = (worker.facts or {}).get(CLOCK, 0.0)
    if abs(ahead) > WARN_SECONDS:
        seen = Text("at the start of {} the database was {} s ahead of its machine", worker.name, signed(ahead))
        yield of_clock(seen, abs(ahead))


def _of_tasks(worker: WorkerInfo, known: Collection[str]) -> Iterator[Finding]:
    if unknown := set(worker.task_names or ()).difference(known):
        yield warn(
            Text("{} knows tasks that this host does not: {}", worker.name, _names(unknown)),
            Text("set TASK_MODULES here as it is set there: an API here refuses these tasks"),
        )


def _names(tasks: Collection[str]) -> str:
    return ", ".join(sorted(tasks)[:SHOWN]) + (" …" if len(tasks) > SHOWN else "")
