"""Endpoints of limits: list, read, set, delete."""

from typing import Annotated

from fastapi import Path

from app.api.deps import AdminUser, SessionDep, TaskReader
from app.api.http.problems import raises
from app.api.http.router import SlashRouter
from app.errors import LimitNotFound, LimitUsed
from app.schemas.limit import LimitRead, LimitWrite
from app.schemas.values import LIMIT_NAME
from app.services.operations import limit_service
from app.services.operations.limit_service import LimitState

router = SlashRouter(prefix="/limits", tags=["limits"])
TAG_DESCRIPTION = "How many tasks run or start at most. For administrators: set and delete."

Name = Annotated[
    str,
    Path(pattern=LIMIT_NAME, description="The limit's name: letters, digits, `_`, `.` and `-`.", examples=["licences"]),
]


@router.get("/", response_model=list[LimitRead], response_description="All limits")
def list_limits(db: SessionDep, _user: TaskReader) -> list[LimitState]:
    """List the limits on how many tasks run or start, by name."""
    return limit_service.list_limits(db)


@router.get("/{name}", response_model=LimitRead, response_description="The limit")
@raises(LimitNotFound)
def get_limit(db: SessionDep, _admin: AdminUser, name: Name) -> LimitState:
    """Return one limit. Administrators only."""
    return limit_service.get_limit(db, name)


@router.put("/{name}", response_model=LimitRead, response_description="The limit, as it is now")
def put_limit(db: SessionDep, _admin: AdminUser, name: Name, body: LimitWrite) -> LimitState:
    """Make a limit, or replace its bounds: what is not named bounds nothing. Administrators only.

    A limit that is lowered stops nothing that runs. Tasks wait until there is room for them.
    """
    return limit_service.put_limit(db, name, **body.model_dump())


@router.delete("/{name}", status_code=204, response_description="The limit is deleted")
@raises(LimitNotFound, LimitUsed)
def delete_limit(db: SessionDep, _admin: AdminUser, name: Name) -> None:
    """Delete a limit that no pending or running task names. Administrators only."""
    limit_service.delete_limit(db, name)
