"""${message}"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.migrations.changes import repeatable
${imports if imports else ""}

revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


@repeatable()
def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


@repeatable()
def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
