"""The steps that a task has done."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from app.schemas.base import ResponseModel
from app.schemas.task_values import Shown


class TaskStepRead(ResponseModel):
    """A step that the body of a task has done by `self.step`."""

    name: str = Field(description="The name that the body gave it.", examples=["download"])
    attempt: int = Field(description="The attempt that ran it. Later ones got its result.", examples=[1])
    started_at: datetime = Field(description="When its function was called, in UTC.")
    finished_at: datetime = Field(description="When it was kept, in UTC.")
    size: int = Field(description="The bytes of its result as JSON.", examples=[11])
    result: Annotated[Any | None, Shown] = Field(description="What it returned.", examples=[{"rows": 3}])
