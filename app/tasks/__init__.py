"""The tasks. Import a new module of tasks here, and its tasks can be created through the API."""

from app.tasks import common_tasks, high_priority_tasks, model_tasks

__all__ = ["common_tasks", "high_priority_tasks", "model_tasks"]
