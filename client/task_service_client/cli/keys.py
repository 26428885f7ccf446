"""`keys create`: the one call of a resource that needs options of its own."""

from typing import Annotated, Any

import typer

from task_service_client.cli.data import write_one
from task_service_client.cli.language import t
from task_service_client.cli.run import Run

SCOPES = ("tasks:read", "tasks:write", "admin")


def create(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help=t("A name for people."))],
    scope: Annotated[list[str] | None, typer.Option("--scope", help=t("tasks:read, tasks:write or admin; several times for several. Default: the first two."))] = None,
    expires_at: Annotated[str | None, typer.Option("--expires-at", metavar="TIME", help=t("It stops working then."))] = None,
) -> None:  # fmt: skip
    """Create an API key, and print it: it is shown this once."""
    body: dict[str, Any] = {"name": name, "scopes": scope or list(SCOPES[:2])}
    if expires_at is not None:
        body["expires_at"] = expires_at
    with run.client() as client:
        created = client.request("POST", "/api/v1/auth/api-keys", json=body).json()
    if run.output == "text" and not run.fields:
        run.say(t("The key {name} ({id}) is shown this once:", name=name, id=created["id"]))
        print(created["key"])
    else:
        write_one(run, created)
