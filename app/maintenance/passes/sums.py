"""Adds up what tasks have left behind. Counts are exact without; numbers by time and groups of failures lag."""

from sqlalchemy.orm import Session

from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.services.operations import stats_adding
from app.services.tasks import task_counts


def _add_changes(db: Session, this: Round) -> float | None:
    return this.run_batches(db, task_counts.fold, task_counts.FOLD_BATCH)


def _add_submissions(db: Session, this: Round) -> float | None:
    return this.run_batches(db, stats_adding.add_submissions, stats_adding.FOLD_BATCH)


ADD_CHANGES = Pass("add_changes", EACH_ROUND, Needs.DATABASE, _add_changes)
ADD_SUBMISSIONS = Pass("add_submissions", EACH_ROUND, Needs.DATABASE, _add_submissions)
