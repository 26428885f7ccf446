"""Records each 403 in the audit, after the response is sent."""

import logging
from uuid import UUID

import anyio
from anyio import to_thread
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.background import BackgroundTask

from app.api.http.middleware import route_template
from app.core.metrics import count_unrecorded_denial
from app.core.origin import current_origin
from app.db.outage import first_line
from app.db.session import SessionLocal
from app.errors import Forbidden, ServiceError, WrongOneTimeCode, WrongPassword
from app.services.audit.audit_service import audit_service
from app.services.tasks.bounds import RateLimit

logger = logging.getLogger(__name__)

PER_CALLER, PER_PROCESS = 10, 120

bounds = RateLimit(PER_CALLER, PER_PROCESS)
# One thread of its own: while the database is down, records must not block the threads that serve requests.
_one_at_a_time = anyio.CapacityLimiter(1)


def denial_record_task(request: Request, error: ServiceError) -> BackgroundTask | None:
    """Return the task that records a denied request once the response is sent.

    Takes the request and the error it was answered with. Returns None if the error is no denial or the rate limit is
    reached.
    """
    if not isinstance(error, Forbidden) or isinstance(error, WrongPassword | WrongOneTimeCode):
        return None  # recorded where they are counted
    suppressed = bounds.admit(_caller())
    if suppressed is None:
        count_unrecorded_denial("flood")
        return None
    route = f"{request.method} {route_template(request.scope)}"
    return BackgroundTask(_record, route, error.code, _ids(request), suppressed)


def _caller() -> str:
    origin = current_origin.get()
    if origin is None:
        return ""
    return str(origin.actor.id) if origin.actor else f"address {origin.address}"


def _ids(request: Request) -> dict[str, str]:
    """Return the ids among the path parameters. Other values are not validated yet and may hold anything."""
    found = {}
    for name, value in request.path_params.items():
        try:
            found[name] = str(UUID(str(value)))
        except ValueError:
            continue
    return found


async def _record(route: str, code: str, ids: dict[str, str], suppressed: int) -> None:
    await to_thread.run_sync(_write, route, code, ids, suppressed, limiter=_one_at_a_time)


def _write(route: str, code: str, ids: dict[str, str], suppressed: int) -> None:
    try:
        with SessionLocal() as db:
            audit_service.record_denial(db, route, code, ids, suppressed)
    except (SQLAlchemyError, ServiceError) as error:
        count_unrecorded_denial("database")
        logger.warning("denial of %s not recorded: %s", route, first_line(error))
