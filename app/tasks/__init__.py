"""The tasks of the service. Import a new module of tasks here, so that the API can create its tasks."""

from app.tasks import common_tasks, high_priority_tasks, model_tasks

__all__ = ["common_tasks", "high_priority_tasks", "model_tasks"]
