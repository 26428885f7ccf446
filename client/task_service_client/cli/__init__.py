"""The command line `task-service`."""

INTERRUPTED = 130


def main() -> None:
    """Run it, and end the process with its exit code."""
    import sys

    try:
        from task_service_client.cli.app import application

        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a name may be beyond the locale's encoding
        application()(prog_name="task-service")
    except KeyboardInterrupt:  # before or behind a command
        sys.exit(INTERRUPTED)
