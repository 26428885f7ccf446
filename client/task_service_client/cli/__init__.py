"""The command line `task-service`."""


def main() -> None:
    """Run it, and end the process with its exit code."""
    import sys

    from task_service_client.cli.app import application

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name may hold what the locale's encoding does not
            stream.reconfigure(errors="replace")
    application()(prog_name="task-service")
