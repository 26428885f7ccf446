"""A search for tasks as a person writes it: `status:failed tag:nightly report` as a filter, and as chips.

Words without a key are a part of the name. A value with spaces stands in quotes: `name:"monthly report"`; in them a
backslash stands before a quote or a backslash.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.api.task_filters import filter_of
from app.models.task_filter import FIELDS, Condition, TaskFilter
from app.services.accounts.auth_service import Principal
from app.web.moments import moment

MAX_LENGTH = 500
_TOKEN = re.compile(r'(?:([a-z]+):)?(?:"((?:[^"\\]|\\.)*)"|(\S+))')
# The key of the search, and the field of the filter.
_NAMES = {field.key: name for name, field in FIELDS.items()}
KEYS = tuple(_NAMES)
_AGO = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


FindUser = Callable[[str], UUID | None]


@dataclass(frozen=True)
class Chip:
    """One part of the search, and the search without it."""

    text: str
    rest: str


@dataclass
class Search:
    """What a reader looks for. `problems` are the parts that mean nothing, which are left out of the filter."""

    text: str
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    chips: list[Chip] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def filter(self, user: Principal) -> TaskFilter:
        """Return the filter. Ordinary users see their own tasks, administrators everybody's, unless `user:` names one.

        Raises AdminOnly for the tasks of others.
        """
        fields = dict(self.fields)
        wanted = fields.pop("user_id", "all" if user.is_admin else None)
        return filter_of(user, wanted, **fields)

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
    search = Search(text[:MAX_LENGTH].replace("\x00", " ").strip())
    tokens = [
        (match[0], match[1], match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2]))
        for match in _TOKEN.finditer(search.text)
    ]
    words = " ".join(value for _, key, value in tokens if key is None)
    for at, (whole, key, value) in enumerate(tokens):
        rest = " ".join(other for number, (other, *_) in enumerate(tokens) if number != at)
        search.chips.append(Chip(whole, rest))
        name = _NAMES.get(key or "name")
        try:
            if name is None:
                raise ValueError(key)
            meant = _meaning(name, value, user, now, find_user) if key else words
        except ValueError:
            search.problems.append(whole)
            continue
        if FIELDS[name].is_list:
            search.fields.setdefault(name, []).append(meant)
        elif search.fields.setdefault(name, meant) != meant:  # a task has one of each
            search.problems.append(whole)
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
    return found if all(str(value) for _, value in values) and len(found) <= MAX_LENGTH else None


def _meaning(name: str, value: str, user: Principal, now: datetime, find_user: FindUser) -> Any:
    """Return the value as the filter takes it. Raises ValueError."""
    field = FIELDS[name]
    if field.or_all and value == "me":
        return user.id
    if field.value_type is datetime:
        return _moment(value, now)
    if field.pattern is not None and not re.fullmatch(field.pattern, value):
        raise ValueError(value)
    try:
        return field.value_type(value)
    except ValueError:  # a name that looks like an id is none: links name users by their ids
        if field.or_all and user.is_admin and (found := find_user(value)):
            return found
        raise


def _moment(value: str, now: datetime) -> datetime:
    """Return `24h` as the time so long ago, else a date or a time. Raises ValueError."""
    if ago := _AGO.fullmatch(value):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    return moment(value)
