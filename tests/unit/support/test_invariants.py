"""The checker of the fault tests, on forged histories: an honest one passes, and every rule is seen to find its lie."""

import json
from dataclasses import replace
from typing import Any

from tests.support.faults.histories import Change, History, Line, PastAttempt, Row, histories, read_ledger
from tests.support.faults.rules import RULES, violations
from tests.support.lawful import TERMINAL
from tests.support.ledger import append_line

ID = "01a20ef7-0000-7000-8000-000000000001"


ROW = {
    "id": ID, "user_id": "u", "celery_task_name": "t", "celery_id": "c1", "attempt": 0, "generation": 1, "version": 1,
    "failures": 0, "crashes": 0, "max_attempts": 3, "progress": 0, "cancel_requested_at": None,
    "unique_key": "a key",
    **dict.fromkeys(("error_fingerprint", "progress_detail", "result", "error_type", "error_message", "args", "kwargs")),
}  # fmt: skip


def changes(*states: str) -> list[Change]:
    """A log of these states, honest in its counts: "pending running pending(lost) …" says how an attempt is left."""
    found: list[Change] = []
    old: dict[str, Any] | None = None
    for at, state in enumerate(states):
        status, _, how = state.partition("(")
        new = {
            **(old or ROW),
            "status": status,
            "claim_id": "a claim" if status == "running" else None,
            "due_at": "soon" if status == "pending" else None,
            "turn": 1.0 if status == "pending" else None,
            "finished_at": "now" if status in TERMINAL else None,
            "active_key": None if status in TERMINAL else "a key",
            "error_fingerprint": "of a group" if status == "failed" else None,
        }
        new["attempt"] += status == "running" and old is not None and old["status"] == "pending"
        new["failures"] += how in ("failed)", "retried)")
        new["crashes"] += how == "lost)"
        if status == "pending" and old and old["status"] in ("failed", "revoked"):
            new |= {"generation": old["generation"] + 1, "celery_id": f"c{at}", "failures": 0, "crashes": 0}
        found.append(Change(at, at, ID, old, None if status == "deleted" else new))
        old = new
    return found


def history(*states: str, past: tuple[str, ...] = (), body: tuple[tuple[int, str], ...] = (), **more: Any) -> History:
    """With its row as the log leaves it, `past` as task_attempts, `body` as the ledger's lines, soon after the claim."""
    log = changes(*states)
    last = log[-1]
    row = None if last.new is None else Row(last.status, last.attempt)
    lines = [Line(ID, attempt, event, 7, 1.5 + at / 10) for at, (attempt, event) in enumerate(body)]
    told = [PastAttempt(number, outcome) for number, outcome in enumerate(past, 1)]
    return replace(History(ID, log, lines, row, told), **more)


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


def test_an_honest_history_breaks_no_rule() -> None:
    for honest in (SUCCEEDED, RETRIED, REVOKED, HANDED_BACK, DELETED, REVIVED, AHEAD):
        assert [str(violation) for violation in violations([honest])] == []


def with_change(found: History, at: int, side: str = "new", **values: Any) -> History:
    """The same history, but for these values of the row before or after one change."""
    log = [replace(each, **{side: getattr(each, side) | values}) if each.seq == at else each for each in found.changes]
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
    "lawful": [
        history("pending", "succeeded"),
        history("pending", "running", "succeeded", "pending"),
        history("running"),
        with_change(RETRIED, 7, generation=1),
        with_change(SUCCEEDED, 1, generation=2),
        with_change(SUCCEEDED, 1, attempt=0),
        with_change(SUCCEEDED, 1, attempt=2),
        with_change(SUCCEEDED, 2, attempt=2),
        with_change(SUCCEEDED, 1, claim_id=None),
        with_change(SUCCEEDED, 2, claim_id="a claim"),
        with_change(SUCCEEDED, 0, due_at=None),
        with_change(SUCCEEDED, 1, turn=2.0),
        with_change(SUCCEEDED, 1, active_key=None),
        with_change(SUCCEEDED, 2, active_key="a key"),
        with_change(SUCCEEDED, 2, version=3),
        with_change(RETRIED, 6, failures=4),
        with_change(RETRIED, 2, crashes=4),
    ],
    "unbroken_log": [with_change(SUCCEEDED, 2, "old", status="pending"), with_change(RETRIED, 4, "old", attempt=1)],
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
    def test_is_lied_to_above(self) -> None:
        assert {rule for rule, lies in LIES.items() if lies} == set(RULES)

    def test_finds_its_lies(self) -> None:
        found = {
            (rule, number): {violation.rule for violation in violations([lie])}
            for rule, lies in LIES.items()
            for number, lie in enumerate(lies)
        }
        assert {lie: others for lie, others in found.items() if lie[0] not in others} == {}

    def test_shows_the_history_by_time(self) -> None:
        (lie,) = LIES["starts_have_claims"]
        told = str(next(each for each in violations([lie]) if each.rule == "starts_have_claims"))
        assert told.index("pending → running") < told.index("body  start, attempt 1") < told.index("→ succeeded")


class TestTheEvidence:
    def test_is_sorted_by_task(self) -> None:
        other = replace(SUCCEEDED.changes[0], task_id="other")
        found = histories([ID, "absent"], [*SUCCEEDED.changes, other], SUCCEEDED.lines)
        counted = {key: (len(each.changes), len(each.lines), each.accepted) for key, each in found.items()}
        assert counted == {ID: (3, 2, True), "absent": (0, 0, True), "other": (1, 0, False)}

    def test_comes_from_a_ledger_of_one_line_an_event(self, tmp_path: Any) -> None:
        for line in SUCCEEDED.lines:
            append_line(tmp_path / "ledger", json.dumps(vars(line)))
        assert read_ledger(tmp_path / "ledger") == SUCCEEDED.lines
