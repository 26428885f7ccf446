"""Who runs next: one task behind another user's backlog, shares by weight, and a critical task behind endless ones."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

from tests.performance.bench import QUIET, ROOM, Bench, run
from tests.performance.drain import all_ended
from tests.performance.findings import Findings
from tests.performance.goals import Goal
from tests.performance.scenario import Account, sign_in, task
from tests.performance.wire import ask_once
from tests.support.loopback import Address, loopback
from tests.support.stack import Stack
from tests.support.waiting import wait_for

RUN_SECONDS = 0.1  # of a task of the backlog
SLACK_SECONDS = 0.1
USERS, BURSTS = 20, (1, 7, 50, 3, 120, 20)
# A window of starts, by how much a share may be off in it (whichever is more), and by how much the window moves on.
WINDOW, OFF_SHARE, OFF_TASKS, STEP = 1_000, 0.05, 2.0, 50
LIMIT_SECONDS = 1800.0
WEIGH = "UPDATE users SET weight = :weight WHERE username = :name RETURNING id"
PENDING = "SELECT count(*) FROM tasks WHERE user_id = :user AND status = 'pending'"
RUNNING = "SELECT count(*) FROM tasks WHERE priority = 'low' AND status = 'running'"
WAITED = (
    "SELECT extract(epoch FROM started_at - created_at)::float8 FROM tasks WHERE id = :id AND started_at IS NOT NULL"
)
# Of each start, and each creation: when, and whose.
HAPPENED = """
SELECT extract(epoch FROM created_at)::float8 AS at, 1 AS more, user_id FROM tasks
UNION ALL SELECT extract(epoch FROM started_at)::float8, -1, user_id FROM tasks WHERE started_at IS NOT NULL
ORDER BY at, more DESC"""


def measure(bench: Bench) -> Findings:
    findings = Findings("turns")
    behind, shares, urgent = [], [], []
    for _ in range(bench.size.rounds):
        behind.append(_behind_a_backlog(bench))
        shares.append(_shares(bench))
        urgent.append(_behind_endless_ones(bench))
    size = bench.size
    what = f"longest wait of one user's task behind {size.waiting:,} of another ({RUN_SECONDS:g} s each), above it"
    note = f"p50 of {_middle([b for b, _ in behind])} against {_middle([a for _, a in behind])} ms"
    goal = Goal(at_most=1000 * (RUN_SECONDS + SLACK_SECONDS), unit="ms")
    values = [1000 * (max(loaded) - sorted(alone)[len(alone) // 2]) for loaded, alone in behind]
    findings.compare(what, "an idle system", goal, values, note)
    what = f"{USERS} users by weights 1–10: most that a share is off in {WINDOW:,} starts"
    note = f"{sum(number for number, _ in shares):,} windows in which all had tasks ready"
    findings.compare(what, f"{OFF_SHARE:.0%} or two tasks", Goal(at_most=1), [most for _, most in shares], note)
    if not all(number for number, _ in shares):
        findings.errors.append("in no window all users had tasks ready")
    what = "longest wait of a critical task, endless low ones in every slot, express slot"
    findings.compare(what, "—", Goal(at_most=1000, unit="ms"), [1000 * max(waits) for waits in urgent])
    findings.latencies = {
        "behind a backlog": [wait for loaded, _ in behind for wait in loaded],
        "idle system": [wait for _, alone in behind for wait in alone],
        "critical, express slot": [wait for waits in urgent for wait in waits],
    }
    return findings


def _middle(rounds: Sequence[Sequence[float]]) -> str:
    ordered = sorted(wait for waits in rounds for wait in waits)
    return f"{1000 * ordered[len(ordered) // 2]:.1f}"


def _waits(stack: Stack, account: Account, number: int, **fields: Any) -> list[float]:
    """Seconds from created to started of so many no-op tasks, one after another."""
    request, waits = account.submit(task("measured.noop", **fields)), []
    for _ in range(number):
        answer = run(ask_once(loopback(stack.url), request))
        assert answer.status == 201, answer.body
        task_id = answer.json()["id"]
        rows = wait_for(lambda task_id=task_id: stack.sql(WAITED, id=task_id), 120, "a task to start")  # type: ignore[misc]
        waits.append(rows[0][0])
    return waits


def _behind_a_backlog(bench: Bench) -> tuple[list[float], list[float]]:
    """The waits of one user's tasks, one after another: behind the backlog of another user, and on an idle system."""
    with bench.new_stack(**ROOM) as stack:
        stack.server(options=QUIET)
        account, greedy = bench.sign_in(stack), bench.new_user(stack)
        with bench.worker(stack):
            _waits(stack, account, 2)  # warms it up
            alone = _waits(stack, account, bench.size.critical)
            bench.fill(stack, greedy, "measured.nap", bench.size.waiting, RUN_SECONDS)
            loaded = _waits(stack, account, bench.size.critical)
            assert stack.sql(PENDING, user=greedy)[0][0], "the backlog had ended: nothing was in front"
    return loaded, alone


def _shares(bench: Bench) -> tuple[int, float]:
    """In how many windows all users had tasks ready; how far a share was off in them, of what it may be, at most."""
    with bench.new_stack(**ROOM) as stack:
        stack.server(options=QUIET)
        addresses = [loopback(stack.url), loopback(stack.another_server({}))]
        accounts = [run(sign_in(addresses[number % 2])) for number in range(USERS)]
        weights = {}
        for number, account in enumerate(accounts):
            weight = 1 + number % 10
            weights[stack.sql(WEIGH, weight=weight, name=account.username)[0][0]] = weight
        half = bench.size.of_each // 2
        with ThreadPoolExecutor(len(addresses)) as pool:
            _submit_all(pool, addresses, accounts, half)
            with bench.worker(stack):
                _submit_all(pool, addresses, accounts, bench.size.of_each - half)
                wait_for(all_ended(stack), LIMIT_SECONDS, "all tasks to end")
        return _worst(stack.sql(HAPPENED), weights)


def _submit_all(pool: ThreadPoolExecutor, addresses: Sequence[Address], accounts: Sequence[Account], each: int) -> None:
    """So many tasks of each user, in bursts of different lengths that go to one API process and the other in turn."""

    def submit(burst: tuple[Address, Account, int]) -> None:
        address, account, number = burst
        request = account.submit({"tasks": [task("measured.noop")] * number}, "/tasks/batch")
        assert run(ask_once(address, request)).status == 201

    list(pool.map(submit, _bursts(addresses, accounts, each)))


def _bursts(
    addresses: Sequence[Address], accounts: Sequence[Account], each: int
) -> Iterator[tuple[Address, Account, int]]:
    left, lengths, where = dict.fromkeys(accounts, each), cycle(BURSTS), cycle(addresses)
    while left:
        for account in list(left):
            number = min(next(lengths), left[account])
            yield next(where), account, number
            left[account] -= number
            if not left[account]:
                del left[account]


def _worst(happened: Sequence[Any], weights: dict[Any, int]) -> tuple[int, float]:
    ready: Counter[Any] = Counter()
    starts: list[Any] = []  # since when all have tasks ready
    windows, worst, total = 0, 0.0, sum(weights.values())
    for _, more, user in happened:
        if more < 0:
            starts.append(user)
        ready[user] += more
        if any(ready[each] <= 0 for each in weights):
            starts = []
        elif more < 0 and len(starts) >= WINDOW and len(starts) % STEP == 0:
            seen, windows = Counter(starts[-WINDOW:]), windows + 1
            for each, weight in weights.items():
                expected = WINDOW * weight / total
                worst = max(worst, abs(seen[each] - expected) / max(OFF_SHARE * expected, OFF_TASKS))
    return windows, worst


def _behind_endless_ones(bench: Bench) -> list[float]:
    """The waits of critical tasks while low ones without an end hold all slots but the express slot."""
    with bench.new_stack(**ROOM) as stack:
        stack.server(options=QUIET)
        account, user = bench.sign_in(stack), bench.new_user(stack)
        stack.worker(1, "high_priority")
        with bench.worker(stack):
            bench.fill(stack, user, "measured.nap", 4, LIMIT_SECONDS, priority="low")
            wait_for(lambda: stack.sql(RUNNING)[0][0] == 2, 60, "low tasks in every slot")
            return _waits(stack, account, bench.size.critical, priority="critical")
