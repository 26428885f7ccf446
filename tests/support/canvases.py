"""Random canvases, run by Celery with its Redis backend and as workflows: both must give the same results.

`python -m tests.support.canvases BROKER NUMBER SEED` fails at the first difference, and says which.
It is a process of its own: the service's Celery application checks each message, and Celery's worker is not to.
"""

import random
import sys
from typing import Any

from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker

from app.workflows import graph, references
from app.workflows.canvas import write

SECONDS = 30


def application(broker: str) -> Celery:
    app = Celery("canvases", broker=broker, backend=broker)
    app.conf.update(
        worker_hijack_root_logger=False, task_default_queue="canvases", broker_connection_retry_on_startup=True
    )
    return app


def tag(*args: Any) -> list[Any]:
    """Show what it has got."""
    return list(args)


class Canvases:
    """Random ones of this application.

    Left out is what Celery 5.6 does wrong: of a chain that ends with a group, in a group, it gives the results in an
    order of their own, and of three groups in a row it leaves out the second one.
    """

    def __init__(self, app: Celery, seed: int) -> None:
        self._task = app.task(name="canvases.tag")(tag)
        self._random = random.Random(seed)
        self._number = 0

    def any(self, depth: int = 3, *, ends_in_a_group: bool = True) -> Any:
        kinds = ["task", "task", "chain", "chord"] + ["group"] * ends_in_a_group
        kind = "task" if depth == 0 else self._random.choice(kinds)
        if kind == "task":
            return self._leaf()
        if kind == "group":
            return self._group(depth)
        if kind == "chord":
            return chord(self._group(depth).tasks, self.any(depth - 1, ends_in_a_group=False))
        steps = [self._group(depth) if self._random.random() < 0.3 else self.any(depth - 1, ends_in_a_group=False)]
        if self._random.random() < 0.5:
            steps.append(self.any(depth - 1, ends_in_a_group=False))
        return chain(*steps, self.any(depth - 1, ends_in_a_group=ends_in_a_group))

    def _group(self, depth: int) -> Any:
        return group([self.any(depth - 1, ends_in_a_group=False) for _ in range(self._random.randint(1, 3))])

    def _leaf(self) -> Any:
        self._number += 1
        args = [self._number] * self._random.randint(0, 2)
        return self._task.si(*args) if self._random.random() < 0.2 else self._task.s(*args)


def run(canvas: Any) -> Any:
    """The result of the canvas as a workflow: each task once, after those that it waits for."""
    tasks, wanted = write(canvas, {"task_type": "t"})
    places = {task["ref"]: at for at, task in enumerate(tasks)}
    results: dict[str, Any] = {}
    for at in graph.order([[places[ref] for ref in task.get("depends_on", [])] for task in tasks]):
        args = references.fill(tasks[at]["args"], lambda each: each.of(results[each.ref]))
        results[tasks[at]["ref"]] = tag(*args)
    return references.fill(wanted, lambda each: each.of(results[each.ref]))


def first_difference(broker: str, number: int, seed: int) -> str | None:
    """Return what is told of the first canvas whose results differ; None if all are the same."""
    app = application(broker)
    canvases = Canvases(app, seed)
    with start_worker(app, perform_ping_check=False, pool="solo", loglevel="ERROR"):
        for at in range(number):
            canvas = canvases.any()
            expected = canvas.apply_async().get(timeout=SECONDS, disable_sync_subtasks=False)
            if expected != (found := run(canvas)):
                return f"number {at} of seed {seed}: {canvas!r}\nCelery:   {expected}\nworkflow: {found}"
    return None


if __name__ == "__main__":
    sys.exit(first_difference(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
