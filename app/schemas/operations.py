"""Response bodies of the probes."""

from typing import Literal

from pydantic import Field

from app.schemas.base import ResponseModel


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
