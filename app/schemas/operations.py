"""The answers of the probes."""

from typing import Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    status: Literal["ok"] = Field("ok", description="The process lives; nothing else was looked at.")


class Readiness(BaseModel):
    status: Literal["ready"] = Field("ready", description="Everything that is needed answers.")
    checks: dict[str, str] = Field(
        description="Each part with `ok`.",
        examples=[{"database": "ok", "migrations": "ok", "broker": "ok"}],
    )
