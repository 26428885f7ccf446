"""What a user keeps of ended tasks."""

from typing import NamedTuple
from uuid import UUID


class Stored(NamedTuple):
    """A user, and the bytes that their ended tasks take."""

    user_id: UUID
    bytes: int
