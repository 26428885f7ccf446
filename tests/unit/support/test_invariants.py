"""The checker of the fault tests, on forged histories: an honest one passes, and every rule is seen to find its lie."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.faults.histories import Change, History, Line, PastAttempt, Row, histories, read_ledger
from tests.support.faults.rules import RULES, violations
from tests.support.ledger_tasks import append

ID = "01a20ef7-0000-7000-8000-000000000001"


def changes(*states: str, **more: Any) -> list[Change]:
    """A log of these states, honest in its counts: "pending running(lost) …" says how an attempt is left."""
    found: list[Change] = []
    before, attempt, generation, failures, crashes = None, 0, 1, 0, 0
    for at, state in enumerate(states):
        if state == "deleted":
            found.append(
                Change(at, at, "DELETE", ID, before, None, attempt, None, generation, False, failures, crashes, 3)
            )
            break
        status, _, how = state.partition("(")
        old = attempt
        attempt += status == "running" and before == "pending"
        failures += how in ("failed)", "retried)")
        crashes += how == "lost)"
        if before in ("failed", "revoked") and status == "pending":
            generation, failures, crashes = generation + 1, 0, 0
        found.append(
            Change(
                at, at, "INSERT" if before is None else "UPDATE", ID, before, status, None if before is None else old,
                attempt, generation, status == "running", failures, crashes, 3,
            )
        )  # fmt: skip
        before = status
    return found


def history(*states: str, past: tuple[str, ...] = (), body: tuple[tuple[int, str], ...] = (), **more: Any) -> History:
    """With its row as the log leaves it, `past` as task_attempts, `body` as the ledger's lines, soon after the claim."""
    log = changes(*states)
    last = log[-1]
    row = None if last.op == "DELETE" else Row(str(last.status), int(last.attempt or 0))
    lines = [Line(ID, attempt, event, 7, 1.5 + at / 10) for at, (attempt, event) in enumerate(body)]
    told = [PastAttempt(number, outcome) for number, outcome in enumerate(past, 1)]
    return replace(History(ID, log, lines, row, told), **more)


def broken(found: History) -> set[str]:
    return {violation.rule for violation in violations([found])}


RUN = ((1, "start"), (1, "end"))  # at 1.5 and 1.6 s: changes come every second
SUCCEEDED = history("pending", "running", "succeeded", body=RUN)
RETRIED = history(
    "pending", "running", "pending(lost)", "running", "pending(retried)", "running", "failed(failed)", "pending",
    "running", "succeeded",
    past=("worker_lost", "retried", "failed"), body=((1, "start"), (2, "start"), (3, "start"), (4, "start"), (4, "end")),
)  # fmt: skip
REVOKED = history("pending", "revoked")
HANDED_BACK = history("pending", "running", "pending", "running", "revoked", past=("handed_back", "revoked"))
AHEAD = replace(SUCCEEDED, lines=[replace(line, time=line.time + 7200) for line in SUCCEEDED.lines])
DELETED = history("pending", "running", "succeeded", "deleted", body=RUN, deleted=True)
REVIVED = history("pending", "revoked", "pending", "running", "succeeded", body=RUN)


class TestAnHonestHistory:
    @pytest.mark.parametrize("honest", [SUCCEEDED, RETRIED, REVOKED, HANDED_BACK, DELETED, REVIVED, AHEAD])
    def test_breaks_no_rule(self, honest: History) -> None:
        assert [str(violation) for violation in violations([honest])] == []


def with_change(found: History, at: int, **values: Any) -> History:
    log = [replace(change, **values) if change.seq == at else change for change in found.changes]
    return replace(found, changes=log)


LIES: dict[str, list[History]] = {
    "committed": [History(ID)],
    "not_lost": [
        replace(SUCCEEDED, row=None),
        replace(DELETED, deleted=False),
        replace(SUCCEEDED, deleted=True),
    ],
    "ends": [history("pending"), history("pending", "running")],
    "ends_once": [history("pending", "running", "succeeded", "running", "failed(failed)", past=("failed",))],
    "succeeds_once": [history("pending", "running", "succeeded", "running", "succeeded")],
    "legal_moves": [
        history("pending", "succeeded"),
        history("pending", "running", "succeeded", "pending"),
        history("running"),
        with_change(RETRIED, 7, generation=1),
        with_change(SUCCEEDED, 1, generation=2),
    ],
    "unbroken_log": [with_change(SUCCEEDED, 2, old_status="pending"), with_change(RETRIED, 4, old_attempt=1)],
    "attempt_rises_with_a_claim": [
        with_change(SUCCEEDED, 1, attempt=0),
        with_change(SUCCEEDED, 1, attempt=2),
        with_change(SUCCEEDED, 2, attempt=2),
        with_change(SUCCEEDED, 1, claimed=False),
        with_change(SUCCEEDED, 2, claimed=True),
    ],
    "within_caps": [with_change(RETRIED, 6, failures=4), with_change(RETRIED, 2, crashes=4)],
    "attempts_are_complete": [
        replace(RETRIED, attempts=RETRIED.attempts[1:]),
        replace(SUCCEEDED, attempts=[PastAttempt(1, "retried")]),
        replace(SUCCEEDED, row=Row("succeeded", 2)),
    ],
    "outcomes_agree": [
        history("pending", "running", "failed(failed)", past=("retried",)),
        history("pending", "running", "failed(failed)"),
        history("pending", "running", "revoked", past=("failed",)),
        history("pending", "running", "pending", "running", "succeeded", past=("worker_lost",), body=((2, "end"),)),
        history("pending", "running", "pending(lost)", "running", "failed(failed)", past=("handed_back", "failed")),
        replace(SUCCEEDED, attempts=[PastAttempt(1, "worker_lost")]),
    ],
    "success_is_the_attempts_own": [
        history("pending", "running", "succeeded"),
        history("pending", "running", "succeeded", body=((1, "start"),)),
        history(
            "pending", "running", "pending(lost)", "running", "succeeded",
            past=("worker_lost",), body=((1, "start"), (2, "start"), (1, "end")),
        ),
        replace(SUCCEEDED, lines=[Line(ID, 1, "start", 7, 1.5), Line(ID, 1, "end", 7, 2.1)]),
    ],
    "starts_have_claims": [history("pending", "running", "succeeded", body=(*RUN, (2, "start")))],
    "starts_once_an_attempt": [history("pending", "running", "succeeded", body=((1, "start"), *RUN))],
    "revoked_while_pending_never_starts": [history("pending", "revoked", body=((1, "start"),))],
}  # fmt: skip


class TestEveryRule:
    def test_is_lied_to_below(self) -> None:
        assert set(LIES) == set(RULES)

    @pytest.mark.parametrize(("rule", "lie"), [(rule, lie) for rule, lies in LIES.items() for lie in lies])
    def test_finds_the_lie(self, rule: str, lie: History) -> None:
        assert rule in broken(lie)

    def test_shows_the_history_by_time(self) -> None:
        (lie,) = LIES["starts_have_claims"]
        told = str(next(each for each in violations([lie]) if each.rule == "starts_have_claims"))
        assert told.index("pending → running") < told.index("body  start, attempt 1") < told.index("→ succeeded")


class TestTheEvidence:
    def test_is_sorted_by_task(self) -> None:
        other = replace(SUCCEEDED.changes[0], task_id="other")
        found = histories([ID, "absent"], [*SUCCEEDED.changes, other], SUCCEEDED.lines)
        assert {key: (len(each.changes), len(each.lines), each.accepted) for key, each in found.items()} == {
            ID: (3, 2, True),
            "absent": (0, 0, True),
            "other": (1, 0, False),
        }

    def test_comes_from_a_ledger_of_one_line_an_event(self, tmp_path: Any) -> None:
        for line in SUCCEEDED.lines:
            append(tmp_path / "ledger", vars(line))
        assert read_ledger(tmp_path / "ledger") == SUCCEEDED.lines
