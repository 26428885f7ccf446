"""Tasks whose result, progress detail or retry is of a given size, loaded with TASK_MODULES."""

from typing import Any

from app.celery_app import celery_app


@celery_app.task(bind=True, name="tests.sized_result")
def sized_result(self: Any, size: int) -> str:
    """Return a text whose JSON takes so many bytes."""
    return "x" * (size - len('""'))


@celery_app.task(bind=True, name="tests.sized_detail")
def sized_detail(self: Any, size: int) -> list[str]:
    """Report a large detail twice (the second call comes within the interval), then a small one; say what it met."""
    met = []
    for _ in range(2):
        try:
            self.update_progress(10, "x" * size)
        except ValueError as error:
            met.append(type(error).__name__)
    self.update_progress(20, {"text": "small"})
    return met


@celery_app.task(bind=True, name="tests.retry_with_more")
def retry_with_more(self: Any, size: int, text: str = "") -> None:
    """Ask to be run again with a text of so many bytes."""
    raise self.retry(args=[size, "x" * size], countdown=0)
