"""The lines that a task logged."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.models.task_log import LogLevel
from app.schemas.base import ResponseModel
from app.schemas.task_values import Shown, ShownText

Level = Annotated[LogLevel, BeforeValidator(lambda level: LogLevel.of(level) if isinstance(level, int) else level)]


class TaskLogRead(ResponseModel):
    """One line that the body of a task logged or printed."""

    seq: int = Field(description="Rises over all attempts of the task, with gaps.", examples=[4294967297])
    at: datetime = Field(description="When it was logged, in UTC.")
    level: Level = Field(description="The level. A level in between counts as the next lower one.")
    logger: str = Field(
        description="The logger's name; `stdout` and `stderr` are printed lines.", examples=["myteam.tasks"]
    )
    message: Annotated[str, ShownText] = Field(
        description="The message with its traceback, if it has one. Secrets are hidden.", examples=["read 100 rows"]
    )
    attempt: int = Field(description="The attempt that logged it.", examples=[1])
    fields: Annotated[dict[str, Any], Shown] = Field(
        description="What was given as `extra`. Secrets are hidden.", examples=[{"rows": 100}]
    )
