"""For those who run the service: probes and metrics. Not below /api/v1: they are no part of the API."""

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.deps import BearerToken, SessionDep
from app.api.http.problems import problems
from app.core.config import get_settings
from app.core.metrics import exposition
from app.errors import InvalidToken, NotFound, NotReady
from app.schemas.operations import Health, Readiness
from app.services.accounts.auth_service import auth_service
from app.services.health_service import health_service
from app.services.tasks.queue_depths import read_queue_depths

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_description="Alive", responses=problems(database=False))
async def healthz() -> Health:
    """Whether the process lives. It looks at nothing else: restart it only when this does not answer."""
    return Health()


@router.get("/readyz", response_description="Ready", responses=problems(NotReady, database=False))
async def readyz() -> Readiness:
    """Whether database and broker answer and the migrations are at head, each within two seconds.

    The 503 names in `checks` what is not.
    """
    return Readiness(checks=await health_service.readiness())


def require_metrics_access(db: SessionDep, token: BearerToken) -> None:
    """Where DOCS_ENABLED closes them, metrics are there for administrators alone, and look absent to anybody else."""
    if get_settings().docs_open:
        return
    try:
        if token is not None and auth_service.authenticate(db, token).is_admin:
            return
    except InvalidToken:
        pass
    raise NotFound


@router.get(
    "/metrics",
    response_class=Response,
    response_description="The Prometheus text format",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(404)},
    dependencies=[Depends(require_metrics_access)],
)
def metrics() -> Response:
    """Counts and times of requests, and the depth of each queue, in Prometheus' text format."""
    return Response(exposition(read_queue_depths), media_type=CONTENT_TYPE_LATEST)
