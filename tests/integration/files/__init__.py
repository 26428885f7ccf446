"""Files, artifacts, output of tasks."""
