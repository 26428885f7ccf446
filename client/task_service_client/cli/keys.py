"""`keys create`: the one call of a resource that needs options of its own."""

from typing import Annotated, Any

from task_service_client.cli.answers import read, shape
from task_service_client.cli.data import write_one, write_values
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run

Scopes = list[str] | None
SCOPES = ("tasks:read", "tasks:write", "admin")


def create(
    run: Run,
    name: Annotated[str, argument("NAME", "A name for people.")],
    scope: Annotated[Scopes, option("--scope", "tasks:read, tasks:write, admin; by default the first two.")] = None,
    expires_at: Annotated[str | None, option("--expires-at", "It stops working then.", "TIME")] = None,
) -> None:  # fmt: skip
    """Create an API key, and print it: it is shown this once."""
    body: dict[str, Any] = {"name": name, "scopes": scope or list(SCOPES[:2])}
    if expires_at is not None:
        body["expires_at"] = expires_at
    with run.client() as client:
        created = read(client.request("POST", "/api/v1/auth/api-keys", json=body), shape(id=str, key=str))
    if run.output == "text" and not run.fields:
        run.say(t("The key {name} ({id}) is shown this once:", name=name, id=created["id"]))
        write_values(created, ["key"])
    else:
        write_one(run, created)
