"""Where the lines and the users stand, by which a task gets its turn (start-time fair queueing)."""

from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.columns import Double, ShortText, Word
from app.ddl.indexes import OFTEN_UPDATED_ROWS, SHORT_LIVED_ROWS


class ClaimedTurn(Base):
    """The highest turn that a claim took from a line (a queue and a priority). The highest of all is the line's clock.

    Rows are only added, and the old ones deleted once a minute. So claims wait for no lock, and the index finds the
    highest one also beside a long transaction, which keeps each version of a row that is updated.
    """

    __tablename__ = "claimed_turns"

    queue: Mapped[str] = mapped_column(ShortText, primary_key=True)
    priority: Mapped[str] = mapped_column(Word, primary_key=True)
    turn: Mapped[float] = mapped_column(Double, primary_key=True)

    __table_args__ = (SHORT_LIVED_ROWS,)


class UserTurn(Base):
    """The last turn that one user's tasks have in a line. A row whose turn the clock has passed says nothing."""

    __tablename__ = "user_turns"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    queue: Mapped[str] = mapped_column(ShortText, primary_key=True)
    priority: Mapped[str] = mapped_column(Word, primary_key=True)
    last: Mapped[float]
    # The line's clock at the last submit: the statement that places tasks needs both.
    clock: Mapped[float]

    __table_args__ = (OFTEN_UPDATED_ROWS,)
