"""The text of a scrape."""

from pathlib import Path

from app.core.metrics import OutboxLag, QueueDepth, count_request, exposition
from tests.support.sources import run_program


def test_shows_requests_and_queues() -> None:
    count_request("GET", "/only/in/this/test", 200, 0.012)
    text = exposition(lambda: [QueueDepth("default", 3, 1, 12.5)], lambda: [OutboxLag("webhooks", 7, 2.5, 1)]).decode()
    assert 'http_requests_total{method="GET",route="/only/in/this/test",status="200"} 1.0' in text
    assert 'http_request_duration_seconds_bucket{le="0.025",method="GET",route="/only/in/this/test"} 1.0' in text
    assert 'tasks{queue="default",status="pending"} 3.0' in text
    assert 'tasks{queue="default",status="running"} 1.0' in text
    assert 'task_queue_oldest_seconds{queue="default"} 12.5' in text
    assert 'task_outbox_waiting{consumer="webhooks"} 7.0' in text
    assert 'task_outbox_oldest_seconds{consumer="webhooks"} 2.5' in text
    assert 'task_outbox_set_aside{consumer="webhooks"} 1.0' in text
    assert "task_metrics_up 1.0" in text


def test_comes_without_the_queues_when_the_database_is_away() -> None:
    def away() -> list[QueueDepth]:
        raise OSError("gone")

    text = exposition(away, list).decode()
    assert "task_metrics_up 0.0" in text
    assert "http_requests_total" in text
    assert "\ntasks{" not in text


def test_adds_up_several_processes(tmp_path: Path) -> None:
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    count = "from app.core.metrics import *; count_request('GET', '/x', 200, 0.1)"
    for _ in range(2):
        run_program(f"{count}; forget_process()", **shared)
    scrape = "print(exposition(lambda: [QueueDepth('default', 3, 1, 0.0)], list).decode())"
    text = run_program(f"{count}; {scrape}", **shared)
    assert 'http_requests_total{method="GET",route="/x",status="200"} 3.0' in text
    assert 'tasks{queue="default",status="pending"} 3.0' in text
