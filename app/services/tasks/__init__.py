"""The operations on tasks, behind the facade `task_service`."""
