"""procrastinate, a task queue in PostgreSQL: its own row for each task, taken one by one with LISTEN and SKIP LOCKED.

`python -m tests.performance.comparators.procrastinating COUNT` makes its tables and so many tasks in
`PROCRASTINATE_DATABASE`; `procrastinate -a tests.performance.comparators.procrastinating.app worker` runs them.
"""

import os
import sys

import procrastinate

BATCH = 500
QUEUE = "noop"
WAITING = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get("PROCRASTINATE_DATABASE", "")))


@app.task(name="noop", queue=QUEUE)
def noop() -> None:
    """Nothing."""


def main(count: int) -> None:
    with (
        app.replace_connector(
            procrastinate.SyncPsycopgConnector(conninfo=os.environ["PROCRASTINATE_DATABASE"])
        ) as here,
        here.open(),
    ):
        here.schema_manager.apply_schema()
        deferrer = here.tasks["noop"].configure()
        for start in range(0, count, BATCH):
            deferrer.batch_defer(*[{}] * min(BATCH, count - start))


if __name__ == "__main__":
    main(int(sys.argv[1]))
