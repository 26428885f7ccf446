"""Request and response bodies of limits."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.models.limit import MAX_COUNT, OnExcess
from app.schemas.base import RequestModel, ResponseModel
from app.schemas.values import MAX_SECONDS, Number

Count = Annotated[int, Field(ge=1, le=MAX_COUNT), Number]
_EXAMPLE: JsonDict = {"concurrency": 3, "concurrency_per_key": 1, "rate": {"count": 100, "period_seconds": 60}}


class LimitRate(RequestModel):
    """At most `count` starts in any interval of `period_seconds`."""

    model_config = ConfigDict(from_attributes=True)

    count: Count = Field(description="How many tasks may start.", examples=[100])
    period_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS), Number] = Field(
        description="The length of the interval, in seconds.", examples=[60]
    )


class LimitWrite(RequestModel):
    """The bounds of a limit. At least one is set; the others do not bound anything."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    concurrency: Count | None = Field(None, description="How many tasks run at the same time.", examples=[3])
    concurrency_per_key: Count | None = Field(
        None, description="How many tasks of each `limit_key` run at the same time.", examples=[1]
    )
    rate: LimitRate | None = Field(None, description="How many tasks start within a time.")
    rate_per_key: LimitRate | None = Field(None, description="How many tasks of each `limit_key` start within a time.")
    on_excess: OnExcess = Field(
        OnExcess.WAIT,
        description="What becomes of a task that exceeds the limit when it is created. `wait`: it waits. `reject`: the "
        "request is refused (409 `limit_reached`). `cancel_oldest`: the caller's own oldest waiting task is cancelled.",
    )

    @model_validator(mode="after")
    def _is_bound(self) -> Self:
        if not (self.concurrency or self.concurrency_per_key or self.rate or self.rate_per_key):
            raise PydanticCustomError(
                "no_bound", "Set at least one of concurrency, concurrency_per_key, rate and rate_per_key"
            )
        return self


class LimitRead(ResponseModel):
    """A limit."""

    name: str = Field(description="The limit's name.", examples=["licences"])
    concurrency: int | None = Field(description="How many tasks run at the same time.", examples=[3])
    concurrency_per_key: int | None = Field(description="The same for each `limit_key`.", examples=[1])
    rate: LimitRate | None = Field(description="How many tasks start within a time.")
    rate_per_key: LimitRate | None = Field(description="The same for each `limit_key`.")
    on_excess: OnExcess = Field(description="What becomes of a task that exceeds the limit when it is created.")
    running: int = Field(description="Tasks whose bodies run now, and have a place of the limit.", examples=[2])
    created_at: datetime = Field(description="When the limit was made, in UTC.")
    updated_at: datetime = Field(description="When the limit last changed, in UTC.")
