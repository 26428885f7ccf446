"""`top`: a live view of queues, workers and running tasks that fills the terminal."""

import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from task_service_client.cli.answers import read, rows, shape
from task_service_client.cli.data import write_one
from task_service_client.cli.ids import TASKS, rows_in, search_of
from task_service_client.cli.options import option
from task_service_client.cli.run import Run, console

if TYPE_CHECKING:
    from concurrent.futures import Future

    from task_service_client import Client

MOST_TASKS = 200
RUNNING = "running"
STATUSES = ("pending", RUNNING, "succeeded", "failed", "revoked")
# How often keys are looked for while the server is asked.
POLL_SECONDS = 0.05
QUIT = {"q", "Q", "\x03"}


def top(
    run: Run,
    query: Annotated[str | None, option("--query -q", "Only the tasks of this search.")] = None,
    interval: Annotated[float, option("--interval", "Between two looks.", "SECONDS", least=0.2)] = 2.0,
) -> None:  # fmt: skip
    """Show the service, live.

    q ends it, space looks at once. Elsewhere than on a terminal it prints one look as JSON.
    """
    with run.client() as client:
        if run.output != "text" or not sys.stdout.isatty() or not sys.stdin.isatty():
            write_one(run if run.output != "text" else run.with_options("json", None, None, None), look(client, query))
            return
        _live(client, query, interval)


def look(client: "Client", query: str | None) -> dict[str, Any]:
    """Return what the view shows. `workers` is null for who may not see them."""
    from task_service_client import ApiError, Task

    form = shape(**dict.fromkeys(STATUSES, int))
    counts = read(client.request("GET", f"{TASKS}count", params=search_of(query) or None), form)
    running = [
        task for task in islice(rows_in(client, query, [RUNNING], Task), MOST_TASKS) if task["status"] == RUNNING
    ]
    try:
        workers = [*rows(client, "/api/v1/workers/", shape(name=str))]
    except ApiError as error:
        if error.status != 403:  # noqa: PLR2004 (Forbidden)
            raise
        workers = None
    recent = read(client.request("GET", TASKS, params={"limit": 20, **search_of(query)}), list[Task])
    queues = [*rows(client, "/api/v1/queues/", shape(name=str))]
    return {"counts": counts, "queues": queues, "workers": workers, "running": running, "recent": recent}


def _live(client: "Client", query: str | None, interval: float) -> None:
    from rich.live import Live

    from task_service_client import NotSignedIn, TaskServiceError
    from task_service_client.cli.exits import Refused, explained
    from task_service_client.cli.keyboard import keys
    from task_service_client.cli.screen import Screen

    screen = Screen(query or "")
    screen.take(look(client, query))
    live = Live(screen, console=console(), screen=True, refresh_per_second=4, redirect_stderr=False)
    with keys() as pressed, live:  # keys that are typed before are lost
        while True:
            if QUIT & {*pressed(interval)}:
                return
            looked = _begun(client, query)
            while not looked.done():
                if QUIT & {*pressed(POLL_SECONDS)}:
                    return
            try:
                screen.take(looked.result())
            except NotSignedIn:
                raise
            except (TaskServiceError, Refused) as error:
                refused = explained(error)
                screen.trouble = refused.message if refused else str(error)


def _begun(client: "Client", query: str | None) -> "Future[dict[str, Any]]":
    """Begin a look in a thread, which does not keep the process: a server may be slow to answer, or not answer."""
    from concurrent.futures import Future
    from threading import Thread

    looked: Future[dict[str, Any]] = Future()

    def work() -> None:
        try:
            looked.set_result(look(client, query))
        except Exception as error:  # noqa: BLE001 (it is raised where the result is asked for)
            looked.set_exception(error)

    Thread(target=work, daemon=True).start()
    return looked
