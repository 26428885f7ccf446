"""Single keys of the terminal, without waiting for the end of a line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Waits so many seconds for keys, and returns those that were typed. One that is a sequence, such as an arrow, is none.
Pressed = Callable[[float], str]

if sys.platform == "win32":
    import msvcrt
    import time

    @contextmanager
    def keys() -> Iterator[Pressed]:
        """Read keys while the context lasts."""

        def pressed(seconds: float) -> str:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if msvcrt.kbhit():
                    return msvcrt.getwch()
                time.sleep(0.05)
            return ""

        yield pressed
else:
    import os
    import select
    import termios
    import tty

    @contextmanager
    def keys() -> Iterator[Pressed]:
        """Read keys while the context lasts; they are not echoed."""
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)

        def pressed(seconds: float) -> str:
            ready, _, _ = select.select([descriptor], [], [], seconds)
            typed = os.read(descriptor, 64).decode(errors="replace") if ready else ""
            return "" if typed.startswith("\x1b") else typed

        try:
            tty.setcbreak(descriptor)
            yield pressed
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
