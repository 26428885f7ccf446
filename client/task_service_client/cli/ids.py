"""Which tasks a command is about: ids of its arguments or of stdin, or those of a search."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from task_service_client.cli.answers import rows, shape
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.errors import ApiError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from task_service_client import Client

TASKS = "/api/v1/tasks/"
MOST_WATCHED = 1000


def checked_id(text: str) -> str:
    """Return an id as the service writes it. Raises Refused for what is none."""
    try:
        return str(UUID(text))
    except ValueError:
        raise Refused(t("{text} is no id of a task", text=repr(text))) from None


def checked_ids(given: Iterable[str]) -> list[str]:
    """Return ids once each; `-` stands for the first words of the lines of stdin."""
    texts: list[str] = []
    for each in given:
        texts += (line.split()[0] for line in sys.stdin if line.strip()) if each == "-" else [each]
    return [*dict.fromkeys(checked_id(text) for text in texts)]


def search_of(query: str | None) -> dict[str, Any]:
    """Return the parameters, or the filter of a bulk operation, of a search: the service reads it."""
    return {"q": query} if query and query.strip() else {}


def rows_in(
    client: "Client", query: str | None, states: Sequence[str], form: "type[BaseModel]"
) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a search in these states, the newest first; where it names states, those that it finds."""
    params = {"limit": 100, **search_of(query)}
    try:
        yield from rows(client, TASKS, form, {**params, "status": states})
    except ApiError as error:
        if error.code != "invalid_search":
            raise
        yield from rows(client, TASKS, form, params)


def found_ids(client: "Client", query: str) -> list[str]:
    """Return the newest tasks of a search that have not ended, at most a thousand."""
    found = rows_in(client, query, ["pending", "running"], shape(id=str))
    return [row["id"] for row in islice(found, MOST_WATCHED)]
