"""The outbox: what became of tasks that something follows, one row for each event and consumer.

`tasks.followers` has one bit for each consumer, and one for each end that webhooks alone want. Triggers write the rows
in the transaction that ends, retries or deletes the task, whichever statement does so (`app/ddl/trigger_rules.py`). A
task without followers, as nearly all are, costs nothing. Maintenance hands each row to its consumer and deletes it
(`app/services/outbox.py`, docs/adr/0052).
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.clock import NOW
from app.ddl.columns import Base, LongText, ShortText, TextList, Word
from app.ddl.indexes import SHORT_LIVED_ROWS, outbox_indexes
from app.ddl.terms import BIT_OF_END


class ConsumerNumber(IntEnum):
    """The numbers of the consumers (`app/services/consumers.py`). One that was given is not given again."""

    WEBHOOKS = 0
    CHILDREN = 1

    @property
    def bit(self) -> int:
        """Its bit in `tasks.followers` and `users.followers`."""
        return 1 << self.value

    def is_in(self, followers: int | None) -> bool:
        """Return whether it is one of these followers."""
        return bool((followers or 0) & self.bit)


class OutboxEvent(StrEnum):
    """What became of the task. The first three are the status that it has ended with."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVOKED = "revoked"
    RETRIED = "retried"
    DELETED = "deleted"


# Of `followers`, those that are told of webhooks: of each event, as of old, or of these ends alone.
ALL_ENDS = sum(BIT_OF_END.values())
OF_WEBHOOKS = ConsumerNumber.WEBHOOKS.bit | ALL_ENDS


class OutboxRow(Base):
    """One event of one task for one consumer. No foreign key: a row outlives its task.

    A later event of a task has a higher id: both were written with the row of the task locked. Of two tasks the ids say
    nothing, and a lower one may be committed later.
    """

    __tablename__ = "task_outbox"
    __table_args__ = (
        *outbox_indexes(),
        # A consumer may know by the id what it has had. SQLite would give the highest one again once its row is gone.
        {**SHORT_LIVED_ROWS, "sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True
    )
    consumer: Mapped[int] = mapped_column(sa.SmallInteger)
    task_id: Mapped[UUID]
    user_id: Mapped[UUID]
    event: Mapped[str] = mapped_column(Word)
    # Of the task: it rises with each retry through the API.
    generation: Mapped[int]
    # The task as the event has left it: it may have changed, or be gone, once a consumer reads this. NULL in rows from
    # before revision 0032.
    version: Mapped[int | None]
    finished_at: Mapped[datetime | None]
    task_type: Mapped[str | None] = mapped_column(ShortText)
    celery_task_name: Mapped[str | None] = mapped_column(ShortText)
    tags: Mapped[list[str] | None] = mapped_column(TextList)
    webhook_url: Mapped[str | None] = mapped_column(LongText)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    # How often the consumer has failed on it, when it is tried again, the last error, and since when no more.
    failures: Mapped[int] = mapped_column(server_default="0")
    next_try_at: Mapped[datetime | None]
    error: Mapped[str | None]
    set_aside_at: Mapped[datetime | None]
