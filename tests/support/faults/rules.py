"""G, what must hold after every fault: each rule looks at one task's history and names what is wrong with it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from app.models.task import ACTIVE, MAX_CRASHES, TERMINAL, TRANSITIONS, TaskStatus
from tests.support.faults.histories import Change, History

# What task_attempts must say of an attempt that left `running` for that state.
OUTCOMES: dict[str, set[str]] = {
    "pending": {"retried", "worker_lost", "handed_back"},
    "failed": {"failed", "worker_lost"},
    "revoked": {"revoked", "worker_lost"},
}
# By how much (failures, crashes) an attempt's end raises the counts.
COUNTS = {"retried": (1, 0), "failed": (1, 0), "worker_lost": (0, 1), "handed_back": (0, 0)}


@dataclass(frozen=True)
class Violation:
    rule: str
    history: History
    why: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.why}\n{self.history}"


Rule = Callable[[History], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    RULES[check.__name__] = check
    return check


def violations(histories: Iterable[History]) -> list[Violation]:
    """Every rule that is broken, by every task that breaks it."""
    return [
        Violation(name, history, why)
        for history in histories
        for name, check in RULES.items()
        for why in check(history)
    ]


# Where it ends


@rule
def committed(history: History) -> Iterator[str]:
    """What was accepted was inserted."""
    if history.accepted and not any(change.op == "INSERT" for change in history.changes):
        yield "accepted, and never in the database"


@rule
def not_lost(history: History) -> Iterator[str]:
    """A row disappears when its deletion was asked for, and no other way."""
    gone = history.row is None and any(change.op == "INSERT" for change in history.changes)
    if gone and not history.deleted:
        yield "its row is gone, and nobody asked for that"
    if history.deleted and history.row is not None:
        yield f"its deletion was asked for, and it is still {history.row.status}"


@rule
def ends(history: History) -> Iterator[str]:
    """Every accepted task reaches an end."""
    if history.accepted and history.row is not None and history.row.status not in TERMINAL:
        yield f"still {history.row.status}"


@rule
def ends_once(history: History) -> Iterator[str]:
    """One terminal transition a generation."""
    ended = Counter(change.generation for change in history.changes if change.ends)
    yield from (f"generation {number} ended {times} times" for number, times in ended.items() if times > 1)


@rule
def succeeds_once(history: History) -> Iterator[str]:
    times = sum(change.ends and change.status == TaskStatus.SUCCEEDED for change in history.changes)
    if times > 1:
        yield f"succeeded {times} times"


# How it gets there


@rule
def legal_moves(history: History) -> Iterator[str]:
    """Every change of status is one that TRANSITIONS knows; a retry alone starts a generation."""
    for change in history.changes:
        if change.op == "INSERT" and (change.status, change.attempt, change.generation) != ("pending", 0, 1):
            yield f"began as {change.status}, attempt {change.attempt}, generation {change.generation}"
        if change.moves and TaskStatus(str(change.status)) not in TRANSITIONS[TaskStatus(str(change.old_status))]:
            yield f"went from {change.old_status} to {change.status}"
    for before, change in pairwise(history.changes):
        retried = change.moves and change.status == TaskStatus.PENDING and change.old_status in TERMINAL
        if change.op == "UPDATE" and change.generation != before.generation + retried:
            yield f"went from generation {before.generation} to {change.generation} as {change.status}"


@rule
def unbroken_log(history: History) -> Iterator[str]:
    """Each change begins where the one before it ended: the log itself is whole."""
    for before, change in pairwise(history.changes):
        if change.op == "UPDATE" and (before.status, before.attempt) != (change.old_status, change.old_attempt):
            yield f"change {change.seq} does not follow from change {before.seq}"


@rule
def attempt_rises_with_a_claim(history: History) -> Iterator[str]:
    """`running` only ever by attempt + 1, under a claim; the attempt never moves otherwise."""
    for change in history.changes:
        if change.op == "UPDATE":
            rose = (change.attempt or 0) - (change.old_attempt or 0)
            if rose != int(change.claims):
                yield f"attempt went from {change.old_attempt} to {change.attempt}: {change.old_status} → {change.status}"
            if change.claimed != (change.status == TaskStatus.RUNNING):
                yield f"{change.status} {'with' if change.claimed else 'without'} a claim"


@rule
def within_caps(history: History) -> Iterator[str]:
    for change in history.changes:
        if change.failures > change.max_attempts or change.crashes > MAX_CRASHES:
            yield f"{change.failures} failures of {change.max_attempts}, {change.crashes} crashes of {MAX_CRASHES}"


# Its attempts


@rule
def attempts_are_complete(history: History) -> Iterator[str]:
    """task_attempts and the row together tell of 1, 2, … attempt, each once."""
    if history.row is None:
        return
    numbers = sorted(each.number for each in history.attempts)
    if history.row.status in (TaskStatus.RUNNING, TaskStatus.SUCCEEDED):
        numbers.append(history.row.attempt)
    if numbers != [*range(1, history.row.attempt + 1)]:
        yield f"attempts {numbers} are told of {history.row.attempt}"


@rule
def outcomes_agree(history: History) -> Iterator[str]:
    """What an attempt's row says is what the task's row did, and the counts went along."""
    told = {each.number: each.outcome for each in history.attempts}
    for before, change in pairwise(history.changes):
        if not (change.moves and change.old_status == TaskStatus.RUNNING and history.row is not None):
            continue
        outcome = told.get(change.attempt or 0)
        if change.status == TaskStatus.SUCCEEDED:
            if outcome is not None:
                yield f"attempt {change.attempt} succeeded, and is told as {outcome}"
        elif outcome not in OUTCOMES[str(change.status)]:
            yield f"attempt {change.attempt} left for {change.status}, and is told as {outcome}"
        else:
            yield from _counts(before, change, str(outcome))


def _counts(before: Change, change: Change, outcome: str) -> Iterator[str]:
    rises = (0, 0) if change.status == TaskStatus.REVOKED else COUNTS[outcome]
    wanted = (min(before.failures + rises[0], change.max_attempts), before.crashes + rises[1])
    if (change.failures, change.crashes) != wanted:
        yield f"attempt {change.attempt}, {outcome}: failures and crashes are {change.failures, change.crashes}, not {wanted}"


# What the bodies say


@rule
def success_is_the_attempts_own(history: History) -> Iterator[str]:
    """`succeeded` means that the body of this very attempt has done its work."""
    if history.keeps_ledger:
        for change in history.changes:
            if change.ends and change.status == TaskStatus.SUCCEEDED and not history.body_ended_before(change):
                yield f"succeeded as attempt {change.attempt}, whose body had not ended"


@rule
def starts_have_claims(history: History) -> Iterator[str]:
    """A body starts for an attempt that was claimed."""
    claimed = {change.attempt for change in history.changes if change.claims}
    yield from (f"attempt {line.attempt} started unclaimed" for line in history.starts() if line.attempt not in claimed)


@rule
def starts_once_an_attempt(history: History) -> Iterator[str]:
    started = Counter(line.attempt for line in history.starts())
    yield from (f"attempt {number} started {times} times" for number, times in started.items() if times > 1)


@rule
def revoked_while_pending_never_starts(history: History) -> Iterator[str]:
    """After a pending task was revoked no body starts, unless a later generation has claimed it."""
    for revoked in history.changes:
        if not (revoked.moves and (revoked.old_status, revoked.status) == (TaskStatus.PENDING, TaskStatus.REVOKED)):
            continue
        later = {c.attempt for c in history.changes if c.claims and c.generation > revoked.generation}
        for line in history.starts():
            if line.attempt > (revoked.attempt or 0) and line.attempt not in later:
                yield f"revoked while pending, and attempt {line.attempt} started {line.time - revoked.at:.3f} s later"


assert len(TERMINAL | ACTIVE) == len(TRANSITIONS)
