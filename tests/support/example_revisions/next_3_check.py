"""a CHECK that allows more"""

from alembic import op

from app.migrations.changes import change_table, repeatable

revision = "next_3"
down_revision = "next_2"


@repeatable()
def upgrade() -> None:
    allow("'reject', 'return', 'replace', 'merge'")


@repeatable()
def downgrade() -> None:
    op.execute("UPDATE tasks SET on_conflict = 'return' WHERE on_conflict = 'merge'")
    allow("'reject', 'return', 'replace'")


def allow(words: str) -> None:
    name = op.f("ck_tasks_on_conflict")
    with change_table("tasks") as tasks:
        tasks.drop_constraint(name, type_="check")
        tasks.create_check_constraint(name, f"on_conflict IN ({words})")
