"""the schema"""

from collections.abc import Sequence

from alembic import op
from alembic.util import CommandError

from app.migrations import baselines

revision: str = "0040"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    baselines.create_all(op.get_bind())


def downgrade() -> None:
    raise CommandError(baselines.NO_WAY_BELOW)
