"""The text of a scrape."""

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.core.metrics import (
    Durations,
    OutboxLag,
    QueueDepth,
    TaskNumbers,
    TaskSums,
    WorkerLoad,
    count_request,
    exposition,
)
from tests.support.sources import run_program

NEED = {"startable": 1, "blocked": 0, "limited": 1, "scheduled": 1}
DEPTH = QueueDepth("default", NEED, ready=2, running=1, oldest_pending_seconds=12.5)
NUMBERS = {"sent": 9, "succeeded": 4, "failed": 2, "revoked": 1, "retried": 5}
RUN, WAIT = Durations([("0.004", 1), ("+Inf", 4)], 7.25), Durations([("0.004", 0), ("+Inf", 6)], 60.5)
WORKERS = [
    WorkerLoad("a@host", ["default", "high_priority"], slots=4, active=3, is_up=True),
    WorkerLoad("b@host", ["default"], slots=2, active=0, is_up=True),
    WorkerLoad("lost@host", ["default"], slots=8, active=1, is_up=False),
]


def scrape(numbers: TaskNumbers | None = None, *lags: OutboxLag) -> set[str]:
    """The lines of it."""
    return set(exposition(lambda: numbers or TaskNumbers(), lambda: lags).decode().splitlines())


def test_shows_requests_and_queues() -> None:
    count_request("GET", "/only/in/this/test", 200, 0.012)
    assert scrape(TaskNumbers([DEPTH]), OutboxLag("webhooks", 7, 2.5, 1)) >= {
        'http_requests_total{method="GET",route="/only/in/this/test",status="200"} 1.0',
        'http_request_duration_seconds_bucket{le="0.025",method="GET",route="/only/in/this/test"} 1.0',
        'tasks{queue="default",status="pending"} 3.0',
        'tasks{queue="default",status="running"} 1.0',
        *(f'task_queue_pending{{need="{need}",queue="default"}} {number}.0' for need, number in NEED.items()),
        'task_queue_oldest_seconds{queue="default"} 12.5',
        'celery_queue_length{queue_name="default"} 2.0',
        'task_outbox_waiting{consumer="webhooks"} 7.0',
        'task_outbox_oldest_seconds{consumer="webhooks"} 2.5',
        'task_outbox_set_aside{consumer="webhooks"} 1.0',
        "task_metrics_up 1.0",
    }


def test_shows_what_has_become_of_tasks_in_the_names_of_celery_exporter() -> None:
    lines = scrape(TaskNumbers(sums=[TaskSums("a.task", "default", NUMBERS, RUN, WAIT)]))
    assert lines >= {
        f'celery_task_{name}_total{{name="a.task",queue_name="default"}} {number}.0' for name, number in NUMBERS.items()
    }
    assert lines >= {
        "# TYPE celery_task_succeeded_total counter",
        "# TYPE celery_task_runtime histogram",
        'celery_task_runtime_bucket{le="0.004",name="a.task",queue_name="default"} 1.0',
        'celery_task_runtime_bucket{le="+Inf",name="a.task",queue_name="default"} 4.0',
        'celery_task_runtime_count{name="a.task",queue_name="default"} 4.0',
        'celery_task_runtime_sum{name="a.task",queue_name="default"} 7.25',
        'task_wait_seconds_count{name="a.task",queue_name="default"} 6.0',
        'task_wait_seconds_sum{name="a.task",queue_name="default"} 60.5',
    }


def test_shows_workers_and_who_serves_each_queue() -> None:
    idle = QueueDepth("idle", dict.fromkeys(NEED, 0), 0, 0, 0.0)
    assert scrape(TaskNumbers([DEPTH, idle], workers=WORKERS, maintenance_seconds=0.5)) >= {
        'celery_worker_up{hostname="a@host"} 1.0',
        'celery_worker_up{hostname="lost@host"} 0.0',
        'celery_worker_tasks_active{hostname="a@host"} 3.0',
        'task_worker_slots{hostname="a@host"} 4.0',
        'task_worker_slots{hostname="lost@host"} 0.0',
        'celery_active_worker_count{queue_name="default"} 2.0',
        'celery_active_process_count{queue_name="default"} 6.0',
        'celery_active_worker_count{queue_name="high_priority"} 1.0',
        'celery_active_worker_count{queue_name="idle"} 0.0',
        "task_maintenance_age_seconds 0.5",
    }


def test_comes_without_the_tasks_when_the_database_is_away() -> None:
    def away() -> TaskNumbers:
        raise OSError("gone")

    text = exposition(away, list).decode()
    assert "task_metrics_up 0.0" in text
    assert "http_requests_total" in text
    assert "\ntasks{" not in text
    assert "celery_" not in text


@pytest.mark.parametrize(
    ("error", "has_traceback"),
    [(OperationalError("SELECT 1", {}, Exception("away")), False), (ValueError("too many"), True)],
)
def test_a_mistake_of_the_code_is_logged_with_its_traceback_and_a_database_that_is_away_in_a_line(
    error: Exception, has_traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> TaskNumbers:
        raise error

    assert b"task_metrics_up 0.0" in exposition(fails, list)
    (record,) = caplog.records
    assert record.getMessage().startswith("cannot count the tasks for /metrics: ")
    assert bool(record.exc_info) is has_traceback


def test_adds_up_several_processes(tmp_path: Path) -> None:
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    count = "from app.core.metrics import *; count_request('GET', '/x', 200, 0.1)"
    for _ in range(2):
        run_program(f"{count}; forget_process()", **shared)
    imports = "from app.core.metrics import NEEDS, QueueDepth, TaskNumbers"
    depth = "QueueDepth('default', dict.fromkeys(NEEDS, 1), 3, 1, 0.0)"
    scrape = f"print(exposition(lambda: TaskNumbers([{depth}]), list).decode())"
    text = run_program(f"{imports}; {count}; {scrape}", **shared)
    assert 'http_requests_total{method="GET",route="/x",status="200"} 3.0' in text
    assert 'tasks{queue="default",status="pending"} 4.0' in text
