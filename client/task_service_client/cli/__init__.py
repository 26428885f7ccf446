"""The command line `task-service`."""

from collections.abc import Sequence

INTERRUPTED, TERMINATED = 130, 143


def main(words: Sequence[str] | None = None, prog_name: str = "task-service") -> None:
    """Run the command of these words, by default those of the process, and end the process with its exit code."""
    import signal
    import sys
    import threading

    before = signal.getsignal(signal.SIGTERM)
    # Only a main thread may; a caller that ignores the signal, or has a handler in C, keeps it.
    ends = threading.current_thread() is threading.main_thread() and before not in (signal.SIG_IGN, None)
    try:
        prepare_streams()
        if ends:
            signal.signal(signal.SIGTERM, _end)
        from task_service_client.cli.app import application

        application()(words, prog_name=prog_name)
    except KeyboardInterrupt:  # before or behind a command
        sys.exit(INTERRUPTED)
    finally:
        if ends:
            signal.signal(signal.SIGTERM, before)


def prepare_streams() -> None:
    """Have standard streams that take any text. One that the caller has closed becomes the null device.

    A name of the service may be beyond the locale's encoding; so may bytes of stdin.
    """
    import io
    import os
    import sys
    from contextlib import suppress
    from pathlib import Path

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (it stays open)
        elif isinstance(stream, io.TextIOWrapper):
            with suppress(io.UnsupportedOperation):  # of a stdin that was read from
                stream.reconfigure(errors="replace" if mode == "w" else "surrogateescape")


def _end(*_: object) -> None:
    """End the process as an error does: a terminal is put back, a half file is deleted. A second SIGTERM kills it."""
    import signal
    import sys

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(TERMINATED)
