"""the events of skipped times: of which schedule one is, and when a schedule was told last"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Id, UTCDateTime
from app.migrations.changes import change_table, repeatable

revision: str = "0036"
down_revision: str | None = "0035"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("webhook_deliveries", sa.Column("schedule_id", Id))
    op.add_column("schedules", sa.Column("skip_told_at", UTCDateTime))


@repeatable()
def downgrade() -> None:
    # The release before records these with their bodies, and could not make them.
    op.execute("DELETE FROM webhook_deliveries WHERE type = 'schedule.skipped' AND body IS NULL")
    with change_table("schedules") as schedules:
        schedules.drop_column("skip_told_at")
    with change_table("webhook_deliveries") as deliveries:
        deliveries.drop_column("schedule_id")
