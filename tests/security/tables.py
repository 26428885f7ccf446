"""What a cancelled task leaves running in its worker: nothing that another task would wait for."""

from collections.abc import Sequence

from tests.security.bodies import ENDED, are_run, begin, cancel, read, uploaded, waited
from tests.security.registry import RESOURCES, check, expect
from tests.security.target import Account, Target

PROFILE = "app.tasks.common_tasks.profile_data"
# Each line has a name of its own: a service that does not refuse that finds the types in one native call of minutes.
NAMES = 100_000
SMALL, SMALL_TABLES = b"a,b\n1,2\n3,4\n", 8
START_SECONDS, END_SECONDS, SMALL_SECONDS = 20.0, 30.0, 30.0


@check(RESOURCES)
def cancelled_tables(target: Target) -> None:
    """A cancelled task on a large table holds up no table of another account"""
    if not are_run(target):
        return  # without a worker there is nothing to probe
    large = b"".join(b'{"k%d":1}\n' % number for number in range(NAMES))
    with (
        uploaded(target, target.mallory, "large.jsonl", large) as large_id,
        uploaded(target, target.alice, "small.csv", SMALL) as small_id,
    ):
        attacked: list[str] = []
        others: list[str] = []
        try:
            attacked += (begin(target, target.mallory, PROFILE, file=large_id, format="jsonl") for _ in range(2))
            waited(lambda: _is_begun(target, attacked), START_SECONDS)
            cancel(target, target.mallory, attacked)
            left = _left(target, target.mallory, attacked, END_SECONDS)
            expect(not left, f"{len(left)} of {len(attacked)} cancelled tasks are not over after {END_SECONDS:g} s")
            others += (begin(target, target.alice, PROFILE, file=small_id, format="csv") for _ in range(SMALL_TABLES))
            left = _left(target, target.alice, others, SMALL_SECONDS)
            expect(not left, f"{len(left)} of {len(others)} small tables are not read after {SMALL_SECONDS:g} s")
        finally:
            cancel(target, target.mallory, attacked)
            cancel(target, target.alice, others)


def _is_begun(target: Target, ids: Sequence[str]) -> bool:
    """Say whether a worker reads one of them, or has refused it."""
    tasks = [read(target, target.mallory, each) for each in ids]
    return any(task["status"] in ENDED or task.get("progress_detail") for task in tasks)


def _left(target: Target, owner: Account, ids: Sequence[str], seconds: float) -> list[str]:
    """Return those that have not ended after so many seconds."""
    left = list(ids)

    def is_none_left() -> bool:
        left[:] = [each for each in left if read(target, owner, each)["status"] not in ENDED]
        return not left

    waited(is_none_left, seconds)
    return left
