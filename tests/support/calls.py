"""What a function costs, counted in calls: seconds jitter."""

import gc
import sys
from collections.abc import Callable
from types import FrameType


def calls(action: Callable[[], object]) -> tuple[int, int]:
    """How many functions of Python and of C a call of `action` leads to."""
    events: list[str] = []

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        events.append(event)

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # a collection calls finalizers, and Hypothesis where it is loaded
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return events.count("call") - 1, events.count("c_call") - 1  # without `action` itself, and without `setprofile`
