"""Which schedules are in trouble, and when rows of one are trimmed."""

from app.services.schedules.runs import Outcome, is_to_trim, trouble_of
from tests.support.tables import check_rows

GOOD, BAD, WAITS = Outcome("succeeded"), Outcome("failed"), Outcome("pending")
SKIPPED, OVERLAP, MISSED = (
    Outcome("skipped", code="quota"),
    Outcome("skipped", code="overlap"),
    Outcome("missed", code="missed"),
)


def test_a_schedule_is_in_trouble_if_its_last_outcomes_were_all_bad() -> None:
    rows = [
        ([], None), ([WAITS], None), ([MISSED], None), ([GOOD], None), ([Outcome("revoked"), Outcome("deleted")], None),
        ([BAD], BAD), ([SKIPPED], SKIPPED), ([BAD, WAITS, MISSED], BAD), ([BAD, BAD, SKIPPED], SKIPPED),
        ([GOOD, BAD, BAD], None), ([GOOD, BAD, SKIPPED, BAD], BAD), ([BAD, BAD, BAD, GOOD], None),
        # The task before had not ended: what that became tells more.
        ([GOOD, OVERLAP, OVERLAP, OVERLAP], None), ([BAD, OVERLAP], BAD), ([WAITS, OVERLAP, OVERLAP], None),
        ([WAITS, OVERLAP, OVERLAP, OVERLAP], OVERLAP),
    ]  # fmt: skip
    check_rows(lambda outcomes, trouble: trouble_of(outcomes) == trouble, rows)


def test_rows_are_trimmed_with_each_hundredth_beyond_those_that_are_kept() -> None:
    rows = [
        ((899, 900), False),
        ((1000, 1001), False),
        ((1001, 1099), False),
        ((1099, 1100), True),
        ((1050, 1350), True),
    ]
    check_rows(lambda times, is_due: is_to_trim(*times) is is_due, rows)
