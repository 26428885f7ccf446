"""the lane of an endpoint, lanes that are closed, and recoveries of what an endpoint has missed"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Id, UTCDateTime
from app.migrations.changes import change_table, copy_grants, repeatable

revision: str = "0044"
down_revision: str | None = "0043"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("webhook_endpoints", sa.Column("lane", Id))
    op.create_table(
        "webhook_closed_lanes", sa.Column("lane", Id, primary_key=True), sa.Column("endpoint_id", Id, nullable=False)
    )
    op.create_table(
        "webhook_recoveries",
        sa.Column("id", Id, primary_key=True),
        sa.Column("endpoint_id", Id, sa.ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("since", UTCDateTime),
        sa.Column("after", Id, nullable=False),
        sa.Column("until", Id, nullable=False),
    )
    for table in ("webhook_closed_lanes", "webhook_recoveries"):
        copy_grants("tasks", table)


@repeatable()
def downgrade() -> None:
    op.drop_table("webhook_recoveries")
    op.drop_table("webhook_closed_lanes")
    # The release before sends what is left in a lane that was closed, unless its endpoint is disabled or gone.
    with change_table("webhook_endpoints") as endpoints:
        endpoints.drop_column("lane")
