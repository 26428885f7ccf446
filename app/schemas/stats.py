"""The answer of `GET /stats`."""

from datetime import datetime

from pydantic import ConfigDict, Field

from app.schemas.base import ResponseModel

_COUNTS = [0, 3, 1]


class StatsSeries(ResponseModel):
    """The numbers of one key, one for each step, the oldest first."""

    key: str = Field(
        description="The task_type, queue or priority. `other`: all that are left out.", examples=["import"]
    )
    submitted: list[int] = Field(
        description="Tasks that were created. A retry of a task and a replaced task create none.", examples=[_COUNTS]
    )
    succeeded: list[int] = Field(description="Tasks that succeeded.", examples=[_COUNTS])
    failed: list[int] = Field(description="Tasks that failed, also if they were retried later.", examples=[_COUNTS])
    revoked: list[int] = Field(description="Tasks that were revoked.", examples=[_COUNTS])


class StatsPercentiles(ResponseModel):
    """Percentiles in seconds, at most 10 % off. null where nothing was measured."""

    p50: float | None = Field(description="Half of the tasks took no longer.", examples=[0.21])
    p95: float | None = Field(description="95 of 100 tasks took no longer.", examples=[1.4])
    p99: float | None = Field(description="99 of 100 tasks took no longer.", examples=[3.9])


class StatsPercentilesOverTime(ResponseModel):
    """The same of each step, the oldest first."""

    p50: list[float | None] = Field(description="Of half of the tasks.", examples=[[0.2, None, 0.23]])
    p95: list[float | None] = Field(description="Of 95 of 100 tasks.", examples=[[1.2, None, 1.7]])
    p99: list[float | None] = Field(description="Of 99 of 100 tasks.", examples=[[3.3, None, 3.9]])


class StatsOverTime(ResponseModel):
    """Percentiles of each step."""

    wait_seconds: StatsPercentilesOverTime = Field(
        description="How long tasks waited, by the step in which they ended."
    )
    run_seconds: StatsPercentilesOverTime = Field(description="How long the last attempts of tasks ran.")


class StatsRead(ResponseModel):
    """What happened in a window of time. The last step is not over yet."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: datetime = Field(
        validation_alias="from_", serialization_alias="from", description="The begin of the first step, in UTC."
    )
    to: datetime = Field(description="The end of the last step, in UTC.")
    step_seconds: int = Field(description="The length of a step.", examples=[60])
    series: list[StatsSeries] = Field(
        description="The 50 keys with the largest numbers, the largest first, then `other`. All lists have one number "
        "for each step; keys without any number are left out."
    )
    wait_seconds: StatsPercentiles = Field(
        description="How long the tasks that ended waited. It is the time from when a task was due to the start of its "
        "last attempt. Tasks that a request retried are left out."
    )
    run_seconds: StatsPercentiles = Field(description="How long their last attempts ran.")
    over_time: StatsOverTime = Field(description="The same of each step, for charts.")
