"""What a look at a user's load finds."""

from typing import NamedTuple


class Look(NamedTuple):
    """What was found.

    Queued tasks, bytes of their arguments, all their bytes; tasks of the last window, seconds until the oldest of them
    leaves it; bytes of what else the user keeps.
    """

    tasks: int
    bytes: int
    stored: int
    recent: int
    recent_seconds: float
    ended: int
