"""A search for tasks as a person writes it: `status:failed tag:nightly report` as a filter, and as chips.

It is the `q` of lists and counts, and what is typed on the pages. Words without a key are a part of the name. A value
with spaces stands in quotes: `name:"monthly report"`; in them a backslash stands before a quote or a backslash.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from app.core.moments import moment
from app.core.nearest import did_you_mean
from app.core.validation_errors import PATTERNS
from app.errors import Text, joined
from app.models.task import TaskPriority
from app.models.task_filter import FIELDS, MAX_SEARCH, Condition, FilterField
from app.schemas.task_filter import MAX_VALUES, PriorityText
from app.services.accounts.auth_service import Principal

# In the place of a user: everybody.
ALL = "all"
_TOKEN = re.compile(r'(?:([a-z]+):)?(?:"((?:[^"\\]|\\.)*)"|(\S+))')
# The key of the search, and the field of the filter.
_NAMES = {field.key: name for name, field in FIELDS.items()}
KEYS = tuple(_NAMES)
_AGO = re.compile(r"([0-9]{1,5})([mhd])")
_PRIORITY: TypeAdapter[TaskPriority] = TypeAdapter(PriorityText)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


FindUser = Callable[[str], UUID | None]


@dataclass(frozen=True)
class Chip:
    """One part of the search, and the search without it."""

    text: str
    rest: str


@dataclass
class Search:
    """What a reader looks for. `problems` are the parts that mean nothing, which are left out of the fields.

    `reasons` say what is wrong with each, without repeating it.
    """

    text: str
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    chips: list[Chip] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)

    def with_value(self, key: str, value: str | None) -> str:
        """Return the search with this value of the key: in place of another one, unless tasks have several of it."""
        is_kept = FIELDS[_NAMES[key]].condition is Condition.IN_ROWS and FIELDS[_NAMES[key]].is_list
        kept = [chip.text for chip in self.chips if is_kept or not chip.text.startswith(f"{key}:")]
        if value is not None:
            kept.append(said_as(value, key))
        return " ".join(kept)


def parse(text: str, user: Principal, now: datetime, find_user: FindUser = lambda _: None) -> Search:
    """Return what this search means. A word that means nothing is one of its `problems`.

    `find_user` returns the id of the user of a name, for administrators, who may name a user so.
    """
    search = Search(text[:MAX_SEARCH].replace("\x00", " ").strip())
    tokens = [
        (match[0], match[1], match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2]))
        for match in _TOKEN.finditer(search.text)
    ]
    words = " ".join(value for _, key, value in tokens if key is None)
    for at, (whole, key, value) in enumerate(tokens):
        rest = " ".join(other for number, (other, *_) in enumerate(tokens) if number != at)
        search.chips.append(Chip(whole, rest))
        try:
            name = _name_of(key or "name")
            meant = _meaning(name, value, user, now, find_user) if key else words
            _add(search.fields, name, meant)
        except _MeansNothing as reason:
            search.problems.append(whole)
            search.reasons.append(Text("word {}: {}", at + 1, str(reason)))
    return search


def said_as(value: object, key: str) -> str:
    """Return the search for this value of the key: in quotes where it needs them."""
    text = str(value)
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f"{key}:{text}" if re.fullmatch(r'[^\s"]+', text) else f'{key}:"{escaped}"'


def text_of(fields: Mapping[str, Any]) -> str | None:
    """Return the search that means this filter, as JSON has it; None where no search can say it."""
    values = [
        (name, each) for name, value in fields.items() for each in (value if isinstance(value, list) else [value])
    ]
    found = " ".join(said_as(value, FIELDS[name].key) for name, value in values)
    return found if all(str(value) for _, value in values) and len(found) <= MAX_SEARCH else None


class _MeansNothing(ValueError):
    """The reason why a part of a search means nothing."""


def _name_of(key: str) -> str:
    """Return the field of the filter. Raises _MeansNothing."""
    if key not in _NAMES:
        raise _MeansNothing(Text("unknown key{}", did_you_mean(key, KEYS)))
    return _NAMES[key]


def _add(fields: dict[str, Any], name: str, meant: Any) -> None:
    """Add a value to the fields. Raises _MeansNothing for another one where a task has one, and for too many."""
    if FIELDS[name].is_list:
        values = fields.setdefault(name, [])
        if len(values) == MAX_VALUES:
            raise _MeansNothing(Text("{} is there {} times already", FIELDS[name].key, MAX_VALUES))
        values.append(meant)
    elif fields.setdefault(name, meant) != meant:
        raise _MeansNothing(Text("{} is there with another value", FIELDS[name].key))


def _meaning(name: str, value: str, user: Principal, now: datetime, find_user: FindUser) -> Any:
    """Return the value as the filter takes it. Raises _MeansNothing."""
    field = FIELDS[name]
    try:
        return _user(value, user, find_user) if field.or_all else _value(field, value, now)
    except ValueError:
        raise _MeansNothing(joined(" ", (field.key, _wanted(field)))) from None


def _user(value: str, user: Principal, find_user: FindUser) -> UUID | str:
    """Return the id of a user, or ALL. Raises ValueError."""
    if value in ("me", ALL):
        return user.id if value == "me" else ALL
    try:
        return UUID(value)  # a name that looks like an id is none: links name users by their ids
    except ValueError:
        if user.is_admin and (found := find_user(value)):
            return found
        raise


def _value(field: FilterField, value: str, now: datetime) -> Any:
    if field.value_type is datetime:
        return _moment(value, now)
    if field.value_type is TaskPriority:
        return _PRIORITY.validate_python(value)
    if field.pattern is not None and not re.fullmatch(field.pattern, value):
        raise ValueError(value)
    return field.value_type(value)


def _wanted(field: FilterField) -> str:
    """Return what a value has to be, as in other errors of fields."""
    if field.or_all:
        return "must be one that you may see: me, all, a UUID, or a name"
    if field.value_type is datetime:
        return "must be a time such as 24h, 7d, 2026-11-30 or 2026-11-30T08:00Z"
    if field.pattern is not None:
        return PATTERNS[field.pattern]
    if issubclass(field.value_type, StrEnum):
        *values, last = map(repr, map(str, field.value_type))
        return Text("must be {}", Text("{} or {}", ", ".join(values), last))
    return "must be a UUID"


def _moment(value: str, now: datetime) -> datetime:
    """Return `24h` as the time so long ago, else a date or a time. Raises ValueError."""
    if ago := _AGO.fullmatch(value):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    return moment(value)
