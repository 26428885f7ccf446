"""Cancels, retries or deletes many tasks: those that are selected, or all that a search finds, on whatever page.

A preview tells how many tasks it will be, shows some, and has the token with which it is done.
"""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Form, Request, Response

from app.api.deps import SessionDep
from app.api.http.body_route import body_limit
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.errors import InvalidInput
from app.models.bulk_deed import Deed, DeedState
from app.services.task_service import task_service
from app.web.access import PageUser
from app.web.rendering import page, redirect
from app.web.shown_tasks import ROWS, STATES_OF, shown
from app.web.task_search import MAX_LENGTH, parse

router = SlashRouter()

FORM_BYTES = 256 * 1024


@router.post("/bulk/{deed}/preview")
@body_limit(lambda _: FORM_BYTES)
@costly(lambda _: True)
def preview(
    request: Request,
    db: SessionDep,
    user: PageUser,
    deed: Deed,
    text: Annotated[str, Form(alias="q", max_length=MAX_LENGTH)] = "",
    ids: Annotated[list[UUID], Form(max_length=1000)] = [],  # noqa: B006 (FastAPI copies it)
    every: Annotated[bool, Form(alias="all")] = False,
) -> Response:
    """Show how many tasks it would be: those that are selected, or with `all` those that the search finds."""
    if not ids and not every:
        raise InvalidInput("Nothing is selected: select tasks, or all that match")
    search = parse(text, user, datetime.now(UTC))
    if search.problems:  # without them the search would find more than was meant
        raise InvalidInput(f"Not understood: {' '.join(search.problems)}")
    search.fields.setdefault("status", STATES_OF[deed])
    which = {"wanted": search.filter(user)} if every else {"ids": ids}
    found = task_service.preview_bulk(db, deed, user_id=user.id, as_admin=user.is_admin, **which)
    values = {
        "deed": deed.value,
        "matched": found.matched,
        "sample": shown(found.sample),
        "token": found.token,
        "text": search.text,
        "selected": not every,
        # More than a page shows: who has not seen them says that the number is right.
        "is_typed": every and found.matched > ROWS,
    }
    return page(request, "bulk_preview.html", values)


@router.post("/bulk/{deed}")
@body_limit(lambda _: FORM_BYTES)
@costly(lambda _: True)
def start(
    request: Request,
    db: SessionDep,
    user: PageUser,
    deed: Deed,
    token: Annotated[str, Form(max_length=65536)],
    matched: Annotated[int | None, Form(ge=0)] = None,
    typed: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    if matched is not None and re.sub(r"\D", "", typed) != str(matched):
        raise InvalidInput(f"The number that was typed is not {matched}: nothing is done")
    started = task_service.start_bulk(db, deed, user_id=user.id, as_admin=user.is_admin, token=token, within_quota=True)
    return redirect(request, f"/bulk/{started.id}")


@router.get("/bulk/{deed_id}")
def show(request: Request, db: SessionDep, user: PageUser, deed_id: UUID) -> Response:
    deed = task_service.get_bulk(db, deed_id, owner=user.owner)
    return page(request, "bulk.html", {"deed": deed, "is_running": deed.state == DeedState.RUNNING})


@router.post("/bulk/{deed_id}/abort")
def abort(request: Request, db: SessionDep, user: PageUser, deed_id: UUID) -> Response:
    task_service.abort_bulk(db, deed_id, owner=user.owner)
    return redirect(request, f"/bulk/{deed_id}", "aborted")
