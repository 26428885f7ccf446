"""a word of what holds a task, and one of how an attempt ends"""

from alembic import op

from app.migrations.changes import change_table, repeatable

revision = "next_4"
down_revision = "next_3"

HELD = ("user", "limit", "limit_key", "name", "dependency")
OUTCOMES = ("running", "succeeded", "failed", "retried", "revoked", "worker_lost", "handed_back")


@repeatable()
def upgrade() -> None:
    allow((*HELD, "approval"), (*OUTCOMES, "skipped"))


@repeatable()
def downgrade() -> None:
    op.execute("UPDATE tasks SET held = NULL WHERE held = 'approval'")
    op.execute("UPDATE task_attempts SET outcome = 'failed' WHERE outcome = 'skipped'")
    allow(HELD, OUTCOMES)


def allow(held: tuple[str, ...], outcomes: tuple[str, ...]) -> None:
    words = ", ".join(map(repr, held))
    checks = {
        "tasks": ("ck_tasks_held", f"held IS NULL OR status = 'pending' AND held IN ({words})"),
        "task_attempts": ("ck_task_attempts_outcome", f"outcome IN ({', '.join(map(repr, outcomes))})"),
    }
    for table, (name, condition) in checks.items():
        with change_table(table) as changed:
            changed.drop_constraint(op.f(name), type_="check")
            changed.create_check_constraint(op.f(name), condition)
