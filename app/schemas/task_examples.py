"""Examples of tasks for the OpenAPI document."""

from typing import Any

TASK_CREATE: dict[str, Any] = {
    "name": "数据处理任务",
    "task_type": "data_processing",
    "celery_task_name": "app.tasks.common_tasks.long_running_task",
    "args": [60],
    "kwargs": {"param": "value"},
    "priority": "normal",
}
# A task as it is read, without the fields that are null.
SHOWN: dict[str, Any] = {
    "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
    "celery_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "user_id": "019a1f3c-0000-7c3a-9f57-3b1f4a0c2d11",
    **TASK_CREATE,
    "queue": "default",
    "status": "running",
    "progress": 50,
    "progress_detail": {"step": 30},
    "max_attempts": 1,
    "tags": ["nightly"],
    "metadata": {"order": 17},
    "attempt": 1,
    "worker": "worker1@host",
    "version": 22,
    "created_at": "2026-11-24T12:00:00Z",
    "updated_at": "2026-11-24T12:00:30Z",
    "started_at": "2026-11-24T12:00:00Z",
}
