"""Entries of `beat_schedule` as schedules: what each becomes, and what is named that no schedule has."""

from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule, solar

from app.beat import entries
from app.beat.entries import CannotCarryOver, convert
from app.messaging.application import celery_app

TASK = "shop.tasks.tidy"


class Moon(schedule):
    """A schedule class of an application's own."""


class Workdays(crontab):
    """Another one."""


def line(value: Any, timezone: str = "UTC") -> Any:
    return convert("x", {"task": TASK, "schedule": value}, timezone).fields.get("cron")


@pytest.mark.parametrize(
    ("value", "cron"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute=30, hour=9, day_of_week="mon-fri"), "30 9 * * mon-fri"),
        (crontab(minute="*/15", hour="0-3, 23"), "*/15 0-3,23 * * *"),
        (crontab(minute=[0, 30], hour={2, 1}), "0,30 1,2 * * *"),
        (crontab(minute=0, hour=0, day_of_week="fri-mon"), "0 0 * * 0,1,5,6"),
        (crontab(minute=0, hour=0, day_of_week="sunday"), "0 0 * * 0"),
        (crontab(minute=0, hour="22-2"), "0 0,1,2,22,23 * * *"),
        (crontab(minute=0, hour=0, day_of_month="1,15", month_of_year="*/3"), "0 0 1,15 */3 *"),
        (crontab(minute=0, hour=0, day_of_month="*/2", day_of_week="mon"), "0 0 */2 * mon"),
    ],
)
def test_a_crontab_is_the_line_with_the_same_times(value: crontab, cron: str) -> None:
    assert line(value) == cron


def test_a_crontab_is_read_in_the_zone_of_its_application() -> None:
    fields = convert("x", {"task": TASK, "schedule": crontab(hour=3, minute=0)}, "Asia/Shanghai").fields
    assert (fields["cron"], fields["timezone"]) == ("0 3 * * *", "Asia/Shanghai")


@pytest.mark.parametrize("value", [600, 600.0, timedelta(minutes=10), schedule(600), schedule(timedelta(minutes=10))])
def test_a_number_a_timedelta_or_a_schedule_is_an_interval(value: Any) -> None:
    fields = convert("tidy", {"task": TASK, "schedule": value}, "UTC").fields
    assert fields["every_seconds"] == 600
    assert "cron" not in fields
    assert (fields["name"], fields["task"]["celery_task_name"]) == ("tidy", TASK)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (solar.__new__(solar), "solar: "), (Moon(60), "Moon: a schedule class"), (Workdays(), "Workdays: a schedule class"),
        (None, "NoneType: "), ("daily", "str: "), (True, "bool: "),
        (crontab(minute=0, hour=0, day_of_month=13, day_of_week="fri"), "both day_of_month and day_of_week"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_of_the_service_is_left_and_says_why(value: Any, why: str) -> None:
    with pytest.raises(CannotCarryOver, match=why):
        line(value)


@pytest.mark.parametrize("entry", [None, {}, {"schedule": 5}, {"task": 7, "schedule": 5}])
def test_an_entry_without_a_task_is_left(entry: Any) -> None:
    with pytest.raises(CannotCarryOver, match="no task"):
        convert("x", entry, "UTC")


def test_options_become_fields_and_the_others_are_named() -> None:
    options = {"time_limit": 60, "queue": "high_priority", "expires": 600, "soft_time_limit": 5, "headers": None}
    entry = {
        "task": TASK,
        "schedule": 5,
        "args": (1,),
        "kwargs": {"a": 2},
        "options": options,
        "shedule": 1,
        "relative": True,
    }
    converted = convert("x", entry, "UTC")
    task = converted.fields["task"]
    assert (task["args"], task["kwargs"], task["timeout_seconds"]) == ([1], {"a": 2}, 60)
    assert task["priority"] == "high"
    assert converted.left_out == [
        "shedule, did you mean schedule", "relative: the first time is the import", "option expires", "option soft_time_limit",
    ]  # fmt: skip


def test_a_queue_and_a_priority_of_others_are_named() -> None:
    entry = {"task": TASK, "schedule": 5, "options": {"queue": "mail", "priority": 77}}
    assert convert("x", entry, "UTC").left_out == [
        "option queue: mail is none of high_priority, default, low_priority",
        "option priority: 77 is none of 0, 3, 6, 9",
    ]


def test_the_entries_are_of_the_application_and_of_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"task": TASK, "schedule": 60}
    monkeypatch.setitem(celery_app.conf.beat_schedule, "mine", mine)
    shop = Celery("shop", set_as_current=False)
    shop.conf.beat_schedule = {"tidy": mine}
    shop.conf.timezone = "Europe/Berlin"
    module, config = ModuleType("shop.tasks"), ModuleType("celeryconfig")
    vars(module).update(app=shop, same=shop, service=celery_app)
    vars(config).update(beat_schedule={"report": mine}, timezone="Asia/Shanghai")
    found = [*entries.sources({"shop.tasks": module, "celeryconfig": config})]
    assert [(dict(each.entries), each.timezone) for each in found] == [
        ({"mine": mine}, "UTC"), ({"tidy": mine}, "Europe/Berlin"), ({"report": mine}, "Asia/Shanghai"),
    ]  # fmt: skip
