"""Which of the model's tasks and workers a pass of maintenance takes."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.model import ModelTask
from tests.support.model_row import Clock

LEASE, FORGET = 300.0, 86_400.0


@dataclass
class ModelWorker:
    heartbeat: float
    stopped: bool = False


def lost_among(tasks: Iterable[ModelTask], workers: dict[str, ModelWorker], *, silent_too: bool) -> list[ModelTask]:
    """The running tasks whose worker said goodbye or, with `silent_too`, has not been heard of for a lease."""

    def is_lost(task: ModelTask) -> bool:
        worker = workers.get(str(task.worker))
        heard = max(task.started_at, worker.heartbeat if worker else task.started_at)
        return (worker is not None and worker.stopped) or (silent_too and heard < task.clock.now - LEASE)

    return [task for task in tasks if task.status == "running" and not task.gone and is_lost(task)]


def forgotten_among(tasks: Iterable[ModelTask], workers: dict[str, ModelWorker], clock: Clock) -> list[str]:
    """The workers that are long gone and hold nothing."""
    holders = {task.worker for task in tasks if task.status == "running"}
    old = clock.now - FORGET
    return [name for name, worker in workers.items() if worker.heartbeat < old and name not in holders]
