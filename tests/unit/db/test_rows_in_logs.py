"""What a row prints, in a log or in a session of Python: which one it is, and no secret."""

from datetime import UTC, datetime
from uuid import UUID

from app.models import Schedule, ScheduleRun, Task
from app.models.webhook import WebhookDelivery, WebhookEndpoint

ID = UUID("01a213bc-cc03-7286-b9e2-1e322208168e")


def test_a_row_says_which_one_it_is() -> None:
    at = datetime(2026, 11, 26, 8, 30, tzinfo=UTC)
    rows = {
        Task(id=ID, name="report", status="pending"): f"<Task {ID} 'report' pending>",
        Schedule(id=ID, name="report", cron="30 9 * * *"): f"<Schedule {ID} 'report' '30 9 * * *'>",
        Schedule(id=ID, name="report", every_seconds=90.0): f"<Schedule {ID} 'report' 'every 90.0 s'>",
        ScheduleRun(scheduled_for=at, task_id=ID): f"<ScheduleRun 2026-11-26 08:30:00+00:00 {ID}>",
        ScheduleRun(scheduled_for=at, skipped="overlap"): "<ScheduleRun 2026-11-26 08:30:00+00:00 overlap>",
        WebhookEndpoint(id=ID, url="https://a.example/hooks"): f"<WebhookEndpoint {ID} 'https://a.example/hooks'>",
        WebhookDelivery(id=ID, type="task.failed", state="pending"): f"<WebhookDelivery {ID} task.failed pending>",
    }
    assert {repr(row): row for row in rows}.keys() == {*rows.values()}


def test_a_row_that_is_not_loaded_asks_for_nothing() -> None:
    for row in (Task, Schedule, ScheduleRun, WebhookEndpoint, WebhookDelivery):
        assert "None" in repr(row())


def test_a_token_in_the_url_of_an_endpoint_is_hidden() -> None:
    assert "hunter2hunter2" not in repr(WebhookEndpoint(id=ID, url="https://a.example/?token=hunter2hunter2"))
