"""G, what must hold after every fault: each rule looks at one task's history and names what is wrong with it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.support.faults.histories import Change, History
from tests.support.lawful import TERMINAL, Row, unfit, unlawful

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
    if history.accepted and not any(change.old is None for change in history.changes):
        yield "accepted, and never in the database"


@rule
def not_lost(history: History) -> Iterator[str]:
    """A row disappears when its deletion was asked for, and no other way."""
    gone = history.row is None and any(change.old is None for change in history.changes)
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
    ended = Counter(change.row["generation"] for change in history.changes if change.ends)
    yield from (f"generation {number} ended {times} times" for number, times in ended.items() if times > 1)


@rule
def succeeds_once(history: History) -> Iterator[str]:
    times = sum(change.ends and change.status == "succeeded" for change in history.changes)
    if times > 1:
        yield f"succeeded {times} times"


# How it gets there


@rule
def lawful(history: History) -> Iterator[str]:
    """Every change is a legal move: of the status, and of all that goes along with it."""
    for change in history.changes:
        if change.new is not None:
            found = unlawful(change.old, change.new) if change.old else unfit(change.new)
            yield from (f"change {change.seq}, to {change.status}: {why}" for why in found)
            if change.old is None and (change.status, change.attempt, change.row["generation"]) != ("pending", 0, 1):
                yield f"began as {change.status}, attempt {change.attempt}, generation {change.row['generation']}"


@rule
def unbroken_log(history: History) -> Iterator[str]:
    """Each change begins where the one before it ended, but for columns that a migration has added: the log is whole."""
    for before, change in pairwise(history.changes):
        if before.new is None or change.old is None or not before.new.items() <= change.old.items():
            yield f"change {change.seq} does not follow from change {before.seq}"


# Its attempts


@rule
def attempts_are_complete(history: History) -> Iterator[str]:
    """task_attempts and the row together tell of 1, 2, … attempt, each once."""
    if history.row is None:
        return
    numbers = sorted(each.number for each in history.attempts)
    if history.row.status in ("running", "succeeded"):
        numbers.append(history.row.attempt)
    if numbers != [*range(1, history.row.attempt + 1)]:
        yield f"attempts {numbers} are told of {history.row.attempt}"


@rule
def outcomes_agree(history: History) -> Iterator[str]:
    """What an attempt's row says is what the task's row did, and the counts went along."""
    told = {each.number: each.outcome for each in history.attempts}
    for change in history.changes:
        if not (change.moves and change.old and change.old["status"] == "running" and history.row is not None):
            continue
        outcome = told.get(change.attempt)
        if change.status == "succeeded":
            if outcome is not None:
                yield f"attempt {change.attempt} succeeded, and is told as {outcome}"
        elif outcome not in OUTCOMES[change.status]:
            yield f"attempt {change.attempt} left for {change.status}, and is told as {outcome}"
        else:
            yield from _counts(change, change.old, str(outcome))


def _counts(change: Change, before: Row, outcome: str) -> Iterator[str]:
    rises = (0, 0) if change.status == "revoked" else COUNTS[outcome]
    wanted = (min(before["failures"] + rises[0], change.row["max_attempts"]), before["crashes"] + rises[1])
    found = (change.row["failures"], change.row["crashes"])
    if found != wanted:
        yield f"attempt {change.attempt}, {outcome}: failures and crashes are {found}, not {wanted}"


# What the bodies say


@rule
def success_is_the_attempts_own(history: History) -> Iterator[str]:
    """`succeeded` means that the body of this very attempt has done its work."""
    if history.keeps_ledger:
        for change in history.changes:
            if change.ends and change.status == "succeeded" and not history.body_ended_before(change):
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
        if not (revoked.moves and revoked.status == "revoked" and revoked.old and revoked.old["status"] == "pending"):
            continue
        generation = revoked.row["generation"]
        later = {c.attempt for c in history.changes if c.claims and c.row["generation"] > generation}
        for line in history.starts():
            if line.attempt > revoked.attempt and line.attempt not in later:
                yield f"revoked while pending, and attempt {line.attempt} started {line.time - revoked.at:.3f} s later"
