"""Endpoints for operators: probes and metrics. They are outside of /api/v1, since they are not part of the API."""

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from app.api.deps import BearerToken, SettingsDep, authenticated
from app.api.http.problems import problems
from app.api.http.schema_gate import STATE as SCHEMA_GATE, SchemaGate
from app.core.metrics import exposition
from app.errors import InvalidToken, NotFound, NotReady
from app.schemas.base import ResponseModel
from app.services import consumers
from app.services.health_service import check_migrations, health_service
from app.services.operations.metrics import read_task_numbers


class Health(ResponseModel):
    """The process is alive."""

    status: Literal["ok"] = Field("ok", description="The process is alive. Nothing else was checked.")


class Readiness(ResponseModel):
    """The service can do its work."""

    status: Literal["ready"] = Field("ready", description="Every part answered.")
    checks: dict[str, str] = Field(
        description="The name of each part, with `ok`.",
        examples=[{"database": "ok", "migrations": "ok", "broker": "ok"}],
    )


router = APIRouter(tags=["operations"])
TAG_DESCRIPTION = "Probes and metrics for operators."


@router.get("/healthz", response_description="The process is alive", responses=problems(database=False))
async def get_health() -> Health:
    """Check that the process answers. Nothing else is checked: restart the process only if this fails."""
    return Health()


@router.get("/readyz", response_description="The service is ready", responses=problems(NotReady, database=False))
async def get_readiness(request: Request) -> Readiness:
    """Check the database, the migrations and the broker. Each check may take two seconds.

    If a check fails, the answer is 503, and `checks` names the fault.
    """
    gate: SchemaGate | None = getattr(request.state, SCHEMA_GATE, None)  # not there without a start
    return Readiness(checks=await health_service.readiness(gate.state if gate else check_migrations))


async def require_metrics_access(request: Request, token: BearerToken, settings: SettingsDep) -> None:
    """With DOCS_ENABLED=false, only administrators get metrics. For other callers they do not exist (404)."""
    if settings.docs_open:
        return
    try:
        if token is not None and (await authenticated(request, token)).is_admin:
            return
    except InvalidToken:
        pass
    raise NotFound


@router.get(
    "/metrics",
    response_class=Response,
    response_description="Metrics in the Prometheus text format",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(404)},
    dependencies=[Depends(require_metrics_access)],
)
def get_metrics() -> Response:
    """Get metrics for Prometheus: what has become of tasks, their durations, queues, workers, and requests.

    With `DOCS_ENABLED=false`, only administrators get them. Other callers get 404.
    """
    return Response(exposition(read_task_numbers, consumers.read_lags), media_type=CONTENT_TYPE_LATEST)
