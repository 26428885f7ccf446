"""What a task emitted."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from app.schemas.base import ResponseModel
from app.schemas.task_values import Shown


class TaskOutputRead(ResponseModel):
    """One chunk of an output stream, which the body of a task emitted by `self.emit`."""

    seq: int = Field(description="Rises over all streams and attempts of the task, with gaps.", examples=[4294967297])
    stream: str = Field(description="The stream that the body named.", examples=["output"])
    attempt: int = Field(description="The attempt that emitted it.", examples=[1])
    at: datetime = Field(description="When it was emitted, in UTC; of several texts, the first one.")
    chunk: Annotated[Any, Shown] = Field(
        description="A text or any JSON. Texts of one stream that came one behind the other may stand in one chunk.",
        examples=["The answer is"],
    )
