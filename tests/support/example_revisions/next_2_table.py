"""a table that a trigger writes"""

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.ddl.clock import NOW
from app.ddl.columns import Id, UTCDateTime, Word
from app.migrations.changes import copy_grants, execute_for_engine, repeatable

revision = "next_2"
down_revision = "next_1"

_NOTE = "INSERT INTO task_notes (task_id, status) VALUES (NEW.id, NEW.status)"
_ENDS = "OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL"


@repeatable()
def upgrade() -> None:
    op.create_table(
        "task_notes",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), SQLITE), primary_key=True),
        sa.Column("task_id", Id, sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("status", Word, nullable=False),
        sa.Column("noted_at", UTCDateTime, server_default=NOW, nullable=False),
    )
    op.create_index("ix_task_notes_task_id", "task_notes", ["task_id"])
    op.create_index("ix_task_notes_status", "task_notes", ["status"])
    copy_grants("tasks", "task_notes")
    execute_for_engine({
        POSTGRESQL: (
            f"CREATE FUNCTION tasks_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_NOTE}; RETURN NULL; END $$",
            f"""CREATE TRIGGER tasks_note AFTER UPDATE OF status ON tasks FOR EACH ROW WHEN ({_ENDS})
            EXECUTE FUNCTION tasks_note()""",
        ),
        MYSQL: (
            f"CREATE TRIGGER tasks_note AFTER UPDATE ON tasks FOR EACH ROW IF {_ENDS} THEN {_NOTE}; END IF",
        ),
        SQLITE: (
            f"CREATE TRIGGER tasks_note AFTER UPDATE OF status ON tasks WHEN {_ENDS} BEGIN {_NOTE}; END",
        ),
    })  # fmt: skip


@repeatable()
def downgrade() -> None:
    execute_for_engine({
        POSTGRESQL: ("DROP FUNCTION tasks_note() CASCADE",),
        MYSQL: ("DROP TRIGGER tasks_note",),
        SQLITE: ("DROP TRIGGER tasks_note",),
    })  # fmt: skip
    op.drop_index("ix_task_notes_status", "task_notes")
    op.drop_table("task_notes")
