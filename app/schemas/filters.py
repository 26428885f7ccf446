"""Filters of lists: each field is declared once, with its type and description.

A filter is the model of a query: the parameters of the endpoint and of the page, and their documentation, are its
fields. Of a field that is set, a row has the same value in the column of that name, unless `Matches` says otherwise
beside its type. That of tasks is declared in `app/models/task_filter.py`, since it is read by statements and searches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement

# What a filter of all users is called. Who may ask for it is decided where the filter comes in.
Whose = UUID | Literal["all"] | None
WHOSE = "Administrators: those of this user; by default, and with `all`, of all users."


@dataclass(frozen=True, slots=True)
class Matches:
    """Beside the type of a field: the condition that a row fits its value."""

    condition: Callable[[Any], ColumnElement[bool]]


class Filter(BaseModel):
    """Which rows of `table` to list; None and an empty list leave a field out."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    table: ClassVar[Any]

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as SQL conditions."""
        named = [(name, value) for name, value in self if value not in (None, [])]
        return [self._condition(name, value) for name, value in named if (name, value) != ("user_id", "all")]

    @classmethod
    def _condition(cls, name: str, value: Any) -> ColumnElement[bool]:
        for each in cls.model_fields[name].metadata:
            if isinstance(each, Matches):
                return each.condition(value)
        equal: ColumnElement[bool] = getattr(cls.table, name) == value
        return equal
