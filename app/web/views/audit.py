"""The audit, for administrators: who did what, to what, when, from where."""

from itertools import groupby
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.db.listing import Page
from app.errors import InvalidInput, Text
from app.models.audit import AuditRecord
from app.schemas.audit import AuditEvent
from app.services.audit import AuditFilter, audit_service
from app.services.user_service import user_service
from app.web.access import PageAdmin
from app.web.forms import next_page
from app.web.responses import NavigationEntry, page

router = SlashRouter()
NAVIGATION = (NavigationEntry(9, "/audit", "Audit", to_admins_alone=True),)

ROWS = 50


def _group(event: AuditEvent) -> str:
    return event.value.partition(".")[0]


# The events by the word before their dot, which chooses all of them.
EVENTS: dict[str, list[AuditEvent]] = {
    name: list(events) for name, events in groupby(sorted(AuditEvent, key=lambda each: each.value), key=_group)
}
_KNOWN = {each.value: [each] for each in AuditEvent} | EVENTS


@router.get("/audit")
def show_audit(
    request: Request,
    db: SessionDep,
    _admin: PageAdmin,
    event: Annotated[list[str], Query(max_length=len(_KNOWN))] = [],  # noqa: B006 (FastAPI copies it)
    by: Annotated[str, Query(max_length=64)] = "",
    object_id: Annotated[str, Query(max_length=128)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show records. `event` is an event or the word before its dot, `by` an id or a username."""
    chosen = [each for each in dict.fromkeys(event) if each]
    if unknown := [each for each in chosen if each not in _KNOWN]:
        raise InvalidInput(Text("There is no event {}", unknown[0][:64]))
    by, object_id = by.strip(), object_id.strip().replace("\x00", "")
    actor = _actor(db, by)
    events = [one for each in chosen for one in _KNOWN[each]]
    wanted = AuditFilter(event=events, actor_id=actor, object_id=object_id or None)
    is_unknown = bool(by) and actor is None
    found = Page([], None) if is_unknown else audit_service.list_page(db, wanted, ROWS, cursor)
    query = {"event": chosen, "by": by, "object_id": object_id}
    names = user_service.usernames(db, _users_in(found.items) | ({actor} if actor else set()))
    values: dict[str, Any] = {
        "records": [(record, _page_of(request, record), _name_of(record, names)) for record in found.items],
        "groups": EVENTS,
        "chosen": chosen,
        "by": names.get(actor, by) if actor else by,
        "is_unknown": is_unknown,
        "object_id": object_id,
        "is_filtered": any(query.values()),
        "next_page": next_page(found, "/audit", query),
    }
    return page(request, "audit.html", values)


def _actor(db: Session, by: str) -> UUID | None:
    """Return the id of who is named. An id need not be of a user who still exists."""
    if not by:
        return None
    try:
        return UUID(by)
    except ValueError:
        return user_service.find_id(db, by)


def _users_in(records: list[AuditRecord]) -> set[UUID]:
    return {UUID(record.object_id) for record in records if record.object_kind == "user"}


def _name_of(record: AuditRecord, names: dict[UUID, str]) -> str | None:
    """Return the name of the user whom it is about."""
    return names.get(UUID(record.object_id)) if record.object_kind == "user" else None


def _page_of(request: Request, record: AuditRecord) -> str | None:
    """Return the page of the object, if its kind has one. It may be deleted: then that page says so."""
    path: str | None = request.app.state.object_pages.get(record.object_kind)
    return path and path + quote(record.object_id, safe="")
