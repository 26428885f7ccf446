"""Cancels, retries or deletes many tasks: those that are selected, or all that a search finds, on whatever page.

A preview tells how many tasks it will be, shows some, and has the token with which it is done. A list has those that
run or ended within a week, and each has a page.
"""

import re
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Form, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep
from app.api.http.body_route import body_limit
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import filter_of_search, read_search
from app.errors import InvalidInput, Text
from app.models.bulk import BulkDeed, Deed, DeedState
from app.models.task_filter import MAX_SEARCH
from app.services.accounts.auth_service import Principal
from app.services.task_service import task_service
from app.services.tasks.search import text_of
from app.web.access import PageUser
from app.web.forms import names_of_owners, next_page
from app.web.responses import page, redirect
from app.web.shown_tasks import ROWS, STATES_OF, as_shown

router = SlashRouter()
OBJECT_PAGES = {"bulk_deed": "/bulk/"}

FORM_BYTES = 256 * 1024


@router.post("/bulk/{deed}/preview")
@body_limit(lambda _: FORM_BYTES)
@costly(lambda _: True)
def preview(
    request: Request,
    db: SessionDep,
    user: PageUser,
    deed: Deed,
    text: Annotated[str, Form(alias="q", max_length=MAX_SEARCH)] = "",
    ids: Annotated[list[UUID], Form(max_length=1000)] = [],  # noqa: B006 (FastAPI copies it)
    every: Annotated[bool, Form(alias="all")] = False,
) -> Response:
    """Show how many tasks it would be: those that are selected, or with `all` those that the search finds."""
    if not ids and not every:
        raise InvalidInput("Nothing is selected: select tasks, or all that match")
    return _preview(request, db, user, deed, text, ids, every=every)


def _preview(
    request: Request,
    db: Session,
    user: Principal,
    deed: Deed,
    text: str,
    ids: Sequence[UUID] = (),
    *,
    every: bool,
    typed: str = "",
    error: InvalidInput | None = None,
) -> Response:
    """Return the page of the preview. With an error it says what is wrong with the number that was `typed`."""
    search = read_search(user, text)
    if search.problems:  # without them the search would find more than was meant
        raise InvalidInput(Text("Not understood: {}", " ".join(search.problems)))
    search.fields.setdefault("status", STATES_OF[deed])
    which = {"wanted": filter_of_search(user, search)} if every else {"ids": [*ids]}
    found = task_service.preview_bulk(db, deed, user_id=user.id, as_admin=user.is_admin, **which)
    values = {
        "deed": deed.value,
        "matched": found.matched,
        "sample": as_shown(found.sample),
        "token": found.token,
        "text": search.text,
        "selected": not every,
        # More than a page shows: who has not seen them says that the number is right.
        "is_typed": every and found.matched > ROWS,
        "typed": typed,
        "wrong": error and error.detail,
    }
    return page(request, "bulk_preview.html", values, error)


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
    text: Annotated[str, Form(alias="q", max_length=MAX_SEARCH)] = "",
) -> Response:
    """Begin it. A mistyped number shows the preview again, with the tasks that the search finds then."""
    if matched is not None and re.sub(r"\D", "", typed) != str(matched):
        error = InvalidInput(Text("The number that was typed is not {}: nothing is done", matched))
        return _preview(request, db, user, deed, text, every=True, typed=typed, error=error)
    started = task_service.start_bulk(
        db, deed, user_id=user.id, as_admin=user.is_admin, token=token, within_quota=True, rights=user.rights
    )
    return redirect(request, f"/bulk/{started.id}", "bulk_started")


@router.get("/bulk")
def list_deeds(request: Request, db: SessionDep, user: PageUser, cursor: Cursor = None) -> Response:
    found = task_service.list_bulk(db, owner=user.owner, limit=ROWS, cursor=cursor)
    values = {
        "deeds": [(deed, _search(deed)) for deed in found.items],
        "names": names_of_owners(db, user, (deed.user_id for deed in found.items)),
        "next_page": next_page(found, "/bulk"),
    }
    return page(request, "bulk_list.html", values)


@router.get("/bulk/{deed_id}")
def show(
    request: Request, db: SessionDep, user: PageUser, deed_id: UUID, skip: Annotated[int, Query(ge=0, le=1000)] = 0
) -> Response:
    deed = task_service.get_bulk(db, deed_id, owner=user.owner)
    selected = task_service.list_selected(db, deed, owner=user.owner, limit=ROWS, skip=skip)
    search = _search(deed)
    values = {
        "deed": deed,
        "is_running": deed.state == DeedState.RUNNING,
        "search": search,
        "selected": selected.items,
        "next_page": None if selected.last is None else f"/bulk/{deed_id}?skip={selected.last}",
        # A deed changes the states by which it was chosen, so the tasks are those that the rest of its search finds.
        "rest": None if search is None else read_search(user, search).with_value("status", None),
        "names": names_of_owners(db, user, [deed.user_id]),
    }
    return page(request, "bulk.html", values)


def _search(deed: BulkDeed) -> str | None:
    """Return the search that selected the tasks; None if they were selected one by one, or it cannot be written."""
    if deed.filter is None:
        return None
    own = {"user_id": str(deed.user_id)} if not deed.as_admin else {}
    return text_of({name: value for name, value in deed.filter.items() if own.get(name) != value})


@router.post("/bulk/{deed_id}/abort")
def abort(request: Request, db: SessionDep, user: PageUser, deed_id: UUID) -> Response:
    task_service.abort_bulk(db, deed_id, owner=user.owner)
    return redirect(request, f"/bulk/{deed_id}", "aborted")
