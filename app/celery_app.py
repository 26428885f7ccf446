"""The Celery application: `celery -A app.celery_app worker` and `celery -A app.celery_app beat`."""

from app.core.process_start import paused_collector

with paused_collector():
    from app.messaging.application import celery_app
    from app.messaging.task_base import SQLAlchemyTask

__all__ = ["SQLAlchemyTask", "celery_app"]
