"""Filters of lists: what their fields ask the database for, and what they refuse."""

from uuid import uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql

from app.db.listing import Filter
from app.services.audit import AuditFilter
from app.services.operations.error_group_service import ErrorFilter
from app.services.schedules.service import ScheduleFilter
from app.services.workflows.reading import WorkflowFilter

ID = uuid4()


def conditions_of(wanted: Filter) -> list[str]:
    return [str(each.compile(dialect=postgresql.dialect())) for each in wanted.conditions()]


def test_a_field_that_is_left_out_asks_for_nothing() -> None:
    for wanted in (ScheduleFilter(), AuditFilter(event=[]), WorkflowFilter(name=None), ErrorFilter(user_id="all")):
        assert conditions_of(wanted) == []


def test_a_column_of_the_name_is_equal() -> None:
    wanted = ScheduleFilter(paused=False, user_id=ID, celery_task_name="all")
    assert [condition.partition(" = ")[0] for condition in conditions_of(wanted)] == [
        "schedules.celery_task_name", "schedules.paused", "schedules.user_id"
    ]  # fmt: skip


def test_a_field_may_have_a_condition_of_its_own() -> None:
    (named,) = conditions_of(WorkflowFilter(name="x"))
    assert named.startswith("strpos(lower(workflows.name), lower(")
    (of_events,) = conditions_of(AuditFilter.model_validate({"event": ["login.failed"]}))
    assert of_events.startswith("audit_events.event IN")


@pytest.mark.parametrize("value", ["", "x" * 201, "a\0b"])
def test_a_value_that_no_row_has_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        WorkflowFilter(name=value)
