"""What turns and claims are asked for: the lines, and the tasks that a process knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

# In one claim, where nothing but this is known of its tasks: they are short. More would keep rows from other slots.
MOST_ROWS = 10
# So many tasks get their turns by one statement.
PLACE_BATCH = 500
# Whose last turn is known: of a user, in a line.
LINE = ("user_id", "queue", "priority")


@dataclass(frozen=True)
class LinesToServe:
    """Lines in the order of service. `floors`: no ready row stands below, as far as this process knows: turn and id.

    Many users may have the same turn: the ids tell which of those rows are gone.
    """

    queues: list[str]
    priorities: list[str]
    floors: Sequence[tuple[float, UUID]]


@dataclass(frozen=True)
class Names:
    """The tasks that a process knows, and those that take milliseconds: `most` rows of these at once at most."""

    known: list[str]
    short: list[str]
    most: int = MOST_ROWS
