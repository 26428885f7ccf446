"""The rows of a page of tasks, cut to a number of bytes."""

from dataclasses import dataclass
from typing import Any

# What a task takes in an answer besides its texts and lists: the names of all fields, ids, times and numbers.
FIXED_BYTES = 1200
# The columns whose values may be large.
LARGE = ("args", "kwargs", "progress_detail", "result", "error_message")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that fit, and whether others were left out for their bytes."""

    rows: list[dict[str, Any]]
    is_cut: bool
