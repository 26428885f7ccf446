"""Every 403 is recorded, after its answer is out, and never at its expense."""

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
from app.errors import Forbidden, ServiceError, WrongPassword
from app.services.audit.audit_service import audit_service
from app.services.tasks.bounds import PerMinute

logger = logging.getLogger(__name__)

PER_CALLER, PER_PROCESS = 10, 120

_bounds = PerMinute(PER_CALLER, PER_PROCESS)
# A thread of its own, one: with the database away, records must not hold the four that serve requests.
_one_at_a_time = anyio.CapacityLimiter(1)


def recording(request: Request, error: ServiceError) -> BackgroundTask | None:
    """What is to follow the answer to a denied request; None when there is nothing to record, or too much of it."""
    if not isinstance(error, Forbidden) or isinstance(error, WrongPassword):
        return None  # a wrong password is recorded where it is counted
    left_out = _bounds.admit(_caller())
    if left_out is None:
        count_unrecorded_denial("flood")
        return None
    route = f"{request.method} {route_template(request.scope)}"
    return BackgroundTask(_record, route, error.code, _ids(request), left_out)


def _caller() -> str:
    origin = current_origin.get()
    if origin is None:
        return ""
    return str(origin.actor.id) if origin.actor else f"address {origin.address}"


def _ids(request: Request) -> dict[str, str]:
    """The ids of the path. Nothing else of it: it was not validated yet, and may hold anything."""
    found = {}
    for name, value in request.path_params.items():
        try:
            found[name] = str(UUID(str(value)))
        except ValueError:
            continue
    return found


async def _record(route: str, code: str, ids: dict[str, str], left_out: int) -> None:
    await to_thread.run_sync(_write, route, code, ids, left_out, limiter=_one_at_a_time)


def _write(route: str, code: str, ids: dict[str, str], left_out: int) -> None:
    try:
        with SessionLocal() as db:
            audit_service.record_denial(db, route, code, ids, left_out)
    except (SQLAlchemyError, ServiceError) as error:
        count_unrecorded_denial("database")
        logger.warning("a denial was not recorded: %s: %s", route, first_line(error))
