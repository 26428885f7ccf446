"""The fixture `task_runner`."""

pytest_plugins = ["app.testing"]
