"""A search for tasks as a person writes it: `status:failed tag:nightly report` as a filter, and as chips.

Words without a key are a part of the name. A value with spaces stands in quotes: `name:"monthly report"`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.api.task_filters import filter_of
from app.models.task import TaskPriority, TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.services.accounts.auth_service import Principal

MAX_LENGTH = 500
_TOKEN = re.compile(r'(?:([a-z]+):)?(?:"([^"]*)"|(\S+))')
# The key of the search, and the field of the filter.
_FIELDS = {
    "name": "name",
    "queue": "queue",
    "type": "task_type",
    "task": "celery_task_name",
    "tag": "tag",
    "status": "status",
    "priority": "priority",
    "waiting": "waiting_for",
    "error": "error",
    "after": "created_after",
    "before": "created_before",
    "user": "user_id",
}
_LISTS = frozenset({"tag", "status"})
_AGO = re.compile(r"([0-9]{1,5})([mhd])")
_FINGERPRINT = re.compile("[0-9a-f]{32}")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Chip:
    """One part of the search, and the search without it."""

    text: str
    rest: str


@dataclass
class Search:
    """What a reader looks for. `problems` are the parts that mean nothing, which are left out of the filter."""

    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    chips: list[Chip] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def filter(self, user: Principal) -> TaskFilter:
        """Return the filter. Ordinary users see their own tasks, administrators everybody's, unless `user:` names one.

        Raises AdminOnly for the tasks of others.
        """
        fields = dict(self.fields)
        wanted = fields.pop("user_id", "all" if user.is_admin else None)
        return filter_of(user, wanted, **fields)

    def with_status(self, status: str | None) -> str:
        """Return the search for tasks of this status, or of any."""
        rest = " ".join(chip.text for chip in self.chips if not chip.text.startswith("status:"))
        return f"{rest} status:{status}".strip() if status else rest


def parse(text: str, user: Principal, now: datetime) -> Search:
    """Return what this search means. A word that means nothing is one of its `problems`."""
    search = Search(text[:MAX_LENGTH].replace("\x00", " ").strip())
    tokens = [
        (match[0], match[1], match[2] if match[2] is not None else match[3]) for match in _TOKEN.finditer(search.text)
    ]
    words = " ".join(value for _, key, value in tokens if key is None)
    for at, (whole, key, value) in enumerate(tokens):
        rest = " ".join(other for number, (other, *_) in enumerate(tokens) if number != at)
        search.chips.append(Chip(whole, rest))
        name = _FIELDS.get(key or "name")
        try:
            if name is None:
                raise ValueError(key)
            meant = _meaning(key, value, user, now) if key else words
        except ValueError:
            search.problems.append(whole)
            continue
        if name in _LISTS:
            search.fields.setdefault(name, []).append(meant)
        elif search.fields.setdefault(name, meant) != meant:  # a task has one of each
            search.problems.append(whole)
    return search


def _meaning(key: str, value: str, user: Principal, now: datetime) -> Any:
    """Return the value as the filter takes it. Raises ValueError."""
    if key in _MEANINGS:
        return _MEANINGS[key](value)
    if key == "user":
        return user.id if value == "me" else UUID(value)
    return _moment(value, now) if key in {"after", "before"} else value


def _fingerprint(value: str) -> str:
    if not _FINGERPRINT.fullmatch(value):
        raise ValueError(value)
    return value


_MEANINGS: dict[str, Callable[[str], Any]] = {
    "status": TaskStatus,
    "priority": TaskPriority,
    "waiting": WaitingReason,
    "error": _fingerprint,
}


def _moment(value: str, now: datetime) -> datetime:
    """Return `24h` as the time so long ago, else a date or a time in ISO 8601, in UTC without an offset."""
    if ago := _AGO.fullmatch(value):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
