"""Tasks whose parameters have all that a form has fields for."""

import enum
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.catalogue import TaskType, type_of
from app.messaging.application import celery_app


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """Where it goes."""

    street: str = Field(description="With the number.", max_length=100)
    code: Annotated[int, Field(ge=1000, lt=10000)] = 1000
    since: datetime | None = None


class Line(BaseModel):
    article: str
    notes: list[str] = []
    parts: list["Line"] = []
    sent_to: Address | None = None


def kind_of(body: Callable[..., Any]) -> TaskType:
    """The catalogue's entry for a task with this body, which is not kept."""
    name = f"tests.forms.{body.__name__}"
    celery_app.task(bind=True, name=name, lazy=False)(body)
    found = type_of(celery_app.tasks[name])
    del celery_app.tasks[name]
    return found


def _paint(
    self: Any, size: int, title: str = "x", *, colour: Colour = Colour.RED, wet: bool = False, ratio: float | None = None,
    points: list[int] = [],  # noqa: B006
) -> None:  # fmt: skip
    """Paint."""


def _invoice(
    self: Any, customer: str, to: Address, lines: list[Line], *, mode: Literal["fast", "cheap"] = "fast",
    day: date | None = None, at: datetime | None = None, remind: time | None = None, other: dict[str, int] | None = None,
    either: int | str = 1, also: Address | None = None, ratio: Annotated[float, Field(gt=0, le=1)] = 0.5,
    code: Annotated[str, Field(pattern="^[a-z]+$", min_length=2)] = "ab", wet: bool = False,
) -> None:  # fmt: skip
    """Write an invoice."""


PAINT, INVOICE = kind_of(_paint), kind_of(_invoice)
