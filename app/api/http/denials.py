"""Records each 403 of a user in the audit after the response is sent, and the first refusal of one with too many.

A denied request counts as a deed (`app/services/audit.py`): beyond the limit it is answered with 429. Requests
without a login or key leave no record, since anybody could fill the audit with them: a metric counts them.
"""

import logging
from functools import partial
from typing import NamedTuple
from uuid import UUID

import anyio
from anyio import to_thread
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.background import BackgroundTask

from app.api.http.middleware import route_template
from app.core.metrics import count_unrecorded_denial
from app.core.origin import current_actor
from app.db.outage import first_line
from app.db.session import SessionLocal
from app.errors import CrossOrigin, Forbidden, ServiceError, TooManyDeeds, UnknownLimit, WrongOneTimeCode, WrongPassword
from app.models.api_key import Scope
from app.services.audit import audit_service

logger = logging.getLogger(__name__)

# One thread of its own: while the database is down, records must not block the threads that serve requests.
_one_at_a_time = anyio.CapacityLimiter(1)


class Answer(NamedTuple):
    """The error to answer with, and what records it once the response is sent."""

    error: ServiceError
    record: BackgroundTask | None = None


def answer_to(request: Request, error: ServiceError) -> Answer:
    """Return the error, or in place of a denial beyond the caller's limit TooManyDeeds; and the record of either."""
    # Wrong passwords and codes are recorded where they are counted.
    denied = isinstance(error, Forbidden) and not isinstance(error, WrongPassword | WrongOneTimeCode)
    if denied:
        forged = isinstance(error, CrossOrigin)
        try:
            audit_service.count_denial(by_address=forged)
        except TooManyDeeds as refusal:
            if forged:  # the address has sent too many, and not the one who is signed in
                return Answer(refusal)
            error, denied = refusal, False
    if isinstance(error, UnknownLimit) and not _may_list_limits(request):
        error = error.without_nearest()
    if current_actor() is None:
        if denied:
            count_unrecorded_denial("anonymous")
        return Answer(error)
    route = f"{request.method} {route_template(request.scope)}"
    if isinstance(error, CrossOrigin) and not audit_service.may_record_forged():
        count_unrecorded_denial("forged")
        return Answer(error)
    if denied:
        write = partial(audit_service.record_denial, route=route, code=error.code, ids=_ids(request))
        return Answer(error, BackgroundTask(_record, route, write))
    if isinstance(error, TooManyDeeds) and error.first:
        return Answer(error, BackgroundTask(_record, route, partial(audit_service.record_throttle, limit=error.limit)))
    return Answer(error)


def _may_list_limits(request: Request) -> bool:
    principal = request.scope["state"].get("principal")
    return principal is not None and Scope.TASKS_READ in principal.scopes


def _ids(request: Request) -> dict[str, str]:
    """Return the ids among the path parameters. Other values are not validated yet and may hold anything."""
    found = {}
    for name, value in request.path_params.items():
        try:
            found[name] = str(UUID(str(value)))
        except ValueError:
            continue
    return found


async def _record(route: str, write: partial[None]) -> None:
    await to_thread.run_sync(_write, route, write, limiter=_one_at_a_time)


def _write(route: str, write: partial[None]) -> None:
    try:
        with SessionLocal() as db:
            write(db)
    except (SQLAlchemyError, ServiceError) as error:
        count_unrecorded_denial("database")
        logger.warning("denial of %s not recorded: %s", route, first_line(error))
