"""`ls`, `show` and what the bodies of tasks say: `logs`, `output`."""

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from task_service_client.cli.answers import read, rows, shape
from task_service_client.cli.columns import TASKS as COLUMNS
from task_service_client.cli.data import write_each, write_line, write_list
from task_service_client.cli.ids import TASKS, checked_id, checked_ids, search_of
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run

if TYPE_CHECKING:
    from task_service_client import AsyncClient

PAGE, MOST_IN_A_PAGE = 50, 200
LEVELS = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "DEBUG": "dim"}
Id = Annotated[str, argument("ID", "The task.")]
Timeout = Annotated[float | None, option("--timeout", "Follow no longer: exit 124.", "SECONDS", least=0)]
Follow = Annotated[bool, option("--follow -f", "Go on until the task has ended.")]


def ls(
    run: Run,
    words: Annotated[list[str] | None, argument("[QUERY]...", "Such as status:failed type:import after:24h")] = None,
    query: Annotated[str | None, option("--query -q", "The same, as one text.")] = None,
    limit: Annotated[int, option("--limit -n", "So many at most; 0 for all.", "N", least=0)] = PAGE,
) -> None:  # fmt: skip
    """List tasks, the newest first.

    Keys of a search: status type task tag name queue priority waiting after before limit schedule workflow error user
    """
    from task_service_client.requests import next_page

    form = shape(id=str)
    with run.client() as client:
        wanted = search_of(" ".join([*(words or []), *([query] if query else [])]))
        size = min(MOST_IN_A_PAGE, limit or MOST_IN_A_PAGE)
        answer = client.request("GET", TASKS, params={"limit": size, **wanted})
        following = next_page(TASKS, answer)

        def found() -> Iterator[dict[str, Any]]:
            yield from read(answer, list[form])  # type: ignore[valid-type]
            if following:
                yield from rows(client, following, form)

        written = write_list(run, islice(found(), limit or None), COLUMNS)
        if written == 0 and run.output == "text":
            run.say(t("No task matches."))
        elif written == limit == PAGE and following and run.output == "text":
            run.say(t("These are the newest {count}. --limit 0 lists all.", count=written))


def show(run: Run, ids: Annotated[list[str], argument("ID...", "Tasks; - reads ids from stdin.")]) -> None:
    """Show tasks with all their fields."""
    from task_service_client import Task

    wanted = checked_ids(ids)
    with run.client() as client:
        found = [read(client.request("GET", TASKS + task_id), Task) for task_id in wanted]
    write_each(run, found)


def logs(
    run: Run,
    task_id: Id,
    follow: Follow = False,
    level: Annotated[str | None, option("--level", "At or above: DEBUG, INFO, WARNING, ERROR, CRITICAL.")] = None,
    attempt: Annotated[int | None, option("--attempt", "Of this attempt.", "N")] = None,
    after: Annotated[int | None, option("--after", "Behind the line of this number.", "SEQ")] = None,
    timeout: Timeout = None,
) -> None:  # fmt: skip
    """Print the log lines of a task."""
    wanted, named = checked_id(task_id), level.upper() if level else None
    _said(
        run,
        lambda client: client.logs(wanted, follow=follow, level=named, attempt=attempt, after=after),
        _log_line,
        timeout,
    )


def output(
    run: Run,
    task_id: Id,
    follow: Follow = False,
    stream: Annotated[str | None, option("--stream", "Of this stream.")] = None,
    after: Annotated[int | None, option("--after", "Behind the chunk of this number.", "SEQ")] = None,
    timeout: Timeout = None,
) -> None:  # fmt: skip
    """Print what a task has emitted.

    Where an attempt begins anew, a message says so.
    """
    wanted, write = checked_id(task_id), _Chunks(run)
    _said(run, lambda client: client.output(wanted, follow=follow, stream=stream, after=after), write, timeout)


def _said(
    run: Run, ask: Callable[["AsyncClient"], Any], write: Callable[[dict[str, Any]], None], timeout: float | None
) -> None:  # fmt: skip
    """Write what comes, each as it comes; a list where JSON is asked for."""
    import asyncio

    found: list[dict[str, Any]] = []

    async def read() -> None:
        async with run.async_client() as client, asyncio.timeout(timeout):
            async for each in ask(client):
                said = each.model_dump(mode="json")
                if run.output == "json":
                    found.append(said)
                elif run.output == "jsonl":
                    write_line(run, said)
                elif run.fields:
                    write_list(run, [said], ())
                else:
                    write(said)

    try:
        asyncio.run(read())
    finally:
        if run.output == "json":
            write_list(run, found, ())


def _log_line(line: dict[str, Any]) -> None:
    """Print a line with its time on the clock of this machine; elsewhere than on a terminal with the whole time."""
    from task_service_client.cli.texts import local, one_line, safe

    level, message = line["level"], line["message"]
    if not sys.stdout.isatty():
        print(line["at"], level, message, flush=True)
        return
    level = one_line(level)
    from rich.text import Text

    from task_service_client.cli.run import console

    words = Text(local(line["at"])[11:19], "dim")
    words.append(f" {level:<8} ", LEVELS.get(level, ""))
    words.append(safe(message))
    console().print(words, soft_wrap=True)


class _Chunks:
    """Writes chunks: texts as they are, other JSON as lines."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._attempt: int | None = None

    def __call__(self, chunk: dict[str, Any]) -> None:
        import json

        from task_service_client.cli.texts import safe

        if self._attempt not in (None, chunk["attempt"]):
            self._run.say(t("Attempt {number} begins anew.", number=chunk["attempt"]))
        self._attempt = chunk["attempt"]
        said = chunk["chunk"]
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False) + "\n"
        sys.stdout.write(safe(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
