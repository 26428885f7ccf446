"""Python's garbage collector, where what is imported and built stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Objects more than were freed until the collector looks for circles. Python's 700 has it walk through a batch of a
# thousand tasks again and again while that is being read, and through the modules that a command imports.
GC_THRESHOLDS = (20_000, 20, 20)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect nothing within. What is imported stays, and a fifth of the time would go to walks through it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
