"""Adds up what tasks have left behind. Counts are exact without; numbers by time and groups of failures lag."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.db.statements.conditions import has_rows
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.task_count import task_count_changes
from app.models.task_stats import task_submissions
from app.services.operations import stats_adding
from app.services.tasks import task_counts


def _add_changes(db: Session, this: Round) -> float | None:
    return this.run_batches(db, task_counts.fold, task_counts.FOLD_BATCH)


def _add_submissions(db: Session, this: Round) -> float | None:
    return this.run_batches(db, stats_adding.add_submissions, stats_adding.FOLD_BATCH)


def _there_are_changes() -> ColumnElement[bool]:
    return has_rows(select(task_count_changes.c.number))


def _there_are_submissions() -> ColumnElement[bool]:
    return has_rows(select(task_submissions.c.number))


ADD_CHANGES = Pass("add_changes", EACH_ROUND, Needs.DATABASE, _add_changes, _there_are_changes)
ADD_SUBMISSIONS = Pass("add_submissions", EACH_ROUND, Needs.DATABASE, _add_submissions, _there_are_submissions)
