"""Which tasks a command is about: ids of its arguments or of stdin, or those of a search."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from task_service_client.cli.answers import rows, shape
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.search import parsed

if TYPE_CHECKING:
    from task_service_client import Client

TASKS, USERS = "/api/v1/tasks/", "/api/v1/users/"
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


def filters_of(client: "Client", query: str) -> dict[str, Any]:
    """Return the filters of a search, with the id of a user that it names. Raises Refused."""
    filters = parsed(query)
    user = filters.get("user_id")
    if user in (None, "all"):
        return filters
    try:
        return {**filters, "user_id": str(UUID(user))}
    except ValueError:
        users = rows(client, USERS, shape(id=str, username=str), {"limit": 200})
        found = next((each["id"] for each in users if each["username"] == user), None)
    if found is None:
        raise Refused(t("There is no user {name}.", name=user))
    return {**filters, "user_id": found}


def found_ids(client: "Client", query: str) -> list[str]:
    """Return the newest tasks of a search that have not ended, at most a thousand."""
    filters = {"status": ["pending", "running"], **filters_of(client, query)}
    found = []
    for row in rows(client, TASKS, shape(id=str), {"limit": 100, **filters}):
        found.append(row["id"])
        if len(found) == MOST_WATCHED:
            break
    return found
