"""The fields of a schedule's form beside its task: what was typed, as the API takes it, and when that would fire."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from app.core.json_text import parse_json
from app.errors import FieldError, InvalidSchedule
from app.schedules.times import Timing, problems as timing_problems
from app.schedules.words import in_words
from app.schedules.zones import ClockChange, Coming, next_clock_change, times_with_changes
from app.schemas.schedule import ScheduleCreate, SchedulePatch, ScheduleRead
from app.services.schedules.definitions import parse_fields
from app.services.schedules.scheduled_tasks import TIMING, timing_error, whole_second
from app.web.task_form.fields import Field
from app.web.task_form.shapes import Kind, Shape, Shapes, as_json, as_text, shape_of
from app.web.task_form.values import value_of

PREFIX = "schedule."
PREVIEWED = 5
# Which of the two fields of a timing is typed, and which one is not read then.
BY = "by"
_NOT_READ = {"cron": "every_seconds", "every": "cron"}
_KEPT = frozenset({"default", "description", "pattern"})
_TICK = timedelta(microseconds=1)
# What stands in the form of a new schedule.
TYPED_DEFAULTS = MappingProxyType({BY: "cron", "timezone": "UTC"})


def _shape(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Shape:
    found = shape_of(schema, definitions)
    without = {key: value for key, value in found.schema.items() if key not in _KEPT}
    if name in {"jitter_seconds", "catch_up_seconds"}:
        without["default"] = schema["default"]
    return Shape(without, found.definitions, in_one_line=name == "tags")


FIELDS = Shapes(ScheduleCreate, _shape, without=("task",))


@dataclass(frozen=True)
class Preview:
    """The times that a timing would have: in words, the next ones, and the next change of the clock behind them.

    `errors` say what is wrong with it; an interval has times where its zone is wrong, too: those of `zone` are shown.
    Without either, nothing was typed yet.
    """

    words: str = ""
    zone: str = "UTC"
    times: list[Coming] = field(default_factory=list)
    next_change: ClockChange | None = None
    errors: list[FieldError] = field(default_factory=list)


def typed_in(form: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed into the fields of the schedule, by their names in the API."""
    return {name: form.get(PREFIX + name, "") for name in (*FIELDS, BY)}


def typed_of(schedule: ScheduleRead) -> dict[str, str]:
    """Return a schedule as if it had been typed. What a schedule has without being told is left empty.

    Whether it is paused is not among it: a change of other fields does not pause or resume.
    """
    values = schedule.model_dump(mode="json", include={*FIELDS} - {"paused"})
    defaults = ScheduleCreate.model_fields
    typed = {
        name: "" if value in (None, [], {}) else _text(FIELDS[name], value)
        for name, value in values.items()
        if name in {"timezone", "overlap", "catch_up"} or value != defaults[name].default
    }
    return {BY: "cron" if schedule.every_seconds is None else "every", **typed}


def _text(shape: Shape, value: Any) -> str:
    if shape.kind is Kind.JSON:
        return as_json(value)
    if shape.kind is Kind.TEXTS:
        return ", ".join(value)
    if shape.kind is Kind.MOMENT:
        return str(value).removesuffix("Z")
    return as_text(int(value) if isinstance(value, float) and value.is_integer() else value)


def inputs(typed: Mapping[str, str]) -> dict[str, Field]:
    """Return the fields with what stands in them, by their names in the API."""
    return {
        name: Field(PREFIX + name, name, name, shape, name == "name", typed.get(name, ""), shape.kind)
        for name, shape in FIELDS.items()
    }


def read(typed: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that were filled in, as ScheduleCreate takes them.

    Raises InvalidSchedule, naming the fields whose text is no value of their kind.
    """
    values, problems = _read(typed)
    if problems:
        raise InvalidSchedule(errors=problems)
    return values


def _read(typed: Mapping[str, str]) -> tuple[dict[str, Any], list[FieldError]]:
    values: dict[str, Any] = {}
    problems: list[FieldError] = []
    for name, shape in FIELDS.items():
        text = typed.get(name, "")
        if not text.strip() or name == _NOT_READ.get(typed.get(BY, "")):
            continue
        try:
            values[name] = parse_json(text) if shape.kind is Kind.JSON else value_of(shape, text)
        except ValueError as error:
            message = f"is not JSON: {error}" if shape.kind is Kind.JSON else str(error)
            problems.append({"loc": [name], "msg": message, "type": "form_value"})
    return values, problems


def problems(typed: Mapping[str, str], now: datetime, before: Mapping[str, str] | None = None) -> list[FieldError]:
    """Return all that is wrong with what was typed; of a form that was filled with `before`, at what was changed."""
    missing: list[FieldError] = [
        {"loc": [name], "msg": "is required", "type": "missing"}
        for name in ("name", _rule(typed))
        if not typed.get(name, "").strip()
    ]
    found = missing + _checked(typed, now)[1]
    return [
        each
        for each in found
        if before is None or any(typed.get(name) != before.get(name) for name in (str(each["loc"][0]), BY))
    ]


def changes(typed: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Any]:
    """Return what SchedulePatch takes of a form that was filled with `before`: what differs. Raises InvalidSchedule."""
    values = read(typed)
    changed = {name for name in FIELDS if typed.get(name, "") != before.get(name, "")}
    if typed.get(BY, "") != before.get(BY, ""):
        changed |= {"cron", "every_seconds"}
    fields = ScheduleCreate.model_fields
    return {name: values.get(name, fields[name].get_default(call_default_factory=True)) for name in changed}


def preview(typed: Mapping[str, str], now: datetime, language: str) -> Preview:
    """Return when a schedule that is typed so would fire, as if it were made now."""
    typed = {name: typed.get(name, "") for name in (*TIMING, BY)}
    if not typed[_rule(typed)].strip():
        return Preview()
    timing, errors = _checked(typed, now)
    if timing is None:
        return Preview(errors=errors)
    since = now if typed["start_at"].strip() or timing.cron is not None else timing.start_at - _TICK
    times = timing.after(since, PREVIEWED)
    return Preview(
        in_words(timing, language),
        timing.timezone,
        times_with_changes(timing.timezone, now, times),
        next_clock_change(timing.timezone, times[-1]) if times and timing.cron is not None else None,
        errors,
    )


def _rule(typed: Mapping[str, str]) -> str:
    """Return the name of the field that gives the times."""
    return "every_seconds" if typed.get(BY) == "every" else "cron"


def _checked(typed: Mapping[str, str], now: datetime) -> tuple[Timing | None, list[FieldError]]:
    """Return the timing, and what is wrong with what was typed.

    There is none if it does not work. That of an interval does without the zone, and is in UTC where that is wrong.
    """
    values, errors = _read(typed)
    try:
        parse_fields(SchedulePatch, values)
    except InvalidSchedule as error:
        errors += error.errors
    wrong = {str(each["loc"][0]) for each in errors}
    wanted: SchedulePatch = parse_fields(
        SchedulePatch, {name: value for name, value in values.items() if name not in wrong}
    )
    start = wanted.start_at or whole_second(now)
    timing = Timing(wanted.cron, wanted.every_seconds, wanted.timezone or "UTC", start, wanted.end_at)
    found = {each.field: each for each in timing_problems(timing, now, starts_now=wanted.start_at is None)}
    if _rule(typed) not in values or _rule(typed) in wrong:
        found.pop("cron", None)  # that there is none
        wrong.add(_rule(typed))
    errors += [timing_error(each) for each in found.values()]
    wrong |= {*found}
    if timing.cron is None:
        timing = replace(timing, timezone="UTC") if "timezone" in wrong else timing
        wrong.discard("timezone")
    return None if wrong & {*TIMING} else timing, errors
