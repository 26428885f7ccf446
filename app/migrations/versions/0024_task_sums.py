"""sums by task and queue since the beginning, for /metrics"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Double, ShortText, Word
from app.migrations.changes import copy_grants, repeatable

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBERS = ("sent", "succeeded", "failed", "revoked", "retried")
# A new version of a row fits into the same page.
_OFTEN_UPDATED = {"fillfactor": 50}


@repeatable()
def upgrade() -> None:
    op.create_table(
        "task_sums",
        *_pair(),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in _NUMBERS),
        postgresql_with=_OFTEN_UPDATED,
    )
    op.create_table(
        "task_sum_durations",
        *_pair(),
        sa.Column("measure", Word, primary_key=True),
        sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("seconds", Double, nullable=False),
        postgresql_with=_OFTEN_UPDATED,
    )
    for table in ("task_sums", "task_sum_durations"):
        copy_grants("task_counts", table)


@repeatable()
def downgrade() -> None:
    op.drop_table("task_sum_durations")
    op.drop_table("task_sums")


def _pair() -> list[sa.Column[str]]:
    return [sa.Column(name, ShortText, primary_key=True) for name in ("celery_task_name", "queue")]
