"""The base of every task, under the path that tasks import it by."""

from app.messaging.task_base import SQLAlchemyTask

__all__ = ["SQLAlchemyTask"]
