"""`update_progress` in a tight loop: what a call costs, how often it is written, and whether the last value lands.

And what a call of `emit` costs.
"""

import json
from typing import Any

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal
from tests.support.stack import Stack
from tests.support.waiting import wait_for

REPORTING = 2  # loops of `measured.tight`, beside the one that does not
CLAIM_AND_FINISH = 2  # what the version grows by beside the reports
FIRST_AND_LAST = 2
LAST = {"last": True}
ROW = """
SELECT status, version, result, progress_detail, extract(epoch FROM finished_at - started_at)::float8 AS seconds
FROM tasks ORDER BY id DESC LIMIT 1"""


def measure(bench: Bench) -> Findings:
    findings = Findings("progress")
    rows = []
    with bench.new_stack() as stack:
        user = bench.new_user(stack)
        with bench.worker(stack, 1):
            for _ in range(bench.size.rounds):
                bench.fill(stack, user, "measured.tight", 1, bench.size.loop_seconds)
                rows.append(ended(stack))
    turns = [json.loads(row.result) for row in rows]
    costs = {way: [(turn[way] - turn["without"]) / 1000 for turn in turns] for way in ("percent", "detail")}
    against = "the loop without it"
    for way, what in (("percent", "percent alone"), ("detail", "with a detail")):
        note = "writes included: at most five a second"
        findings.compare(f"update_progress, {what}: a call", against, Goal(at_most=2, unit="µs"), costs[way], note)
    emits = [turn["emit"] / 1000 for turn in turns]
    findings.compare(
        "emit of 100 bytes: CPU of a call", "—", Goal(at_most=10, unit="µs"), emits, "of the body's thread"
    )
    # The loop without reports writes nothing; the first report and the last one come on top.
    reported = bench.size.loop_seconds * REPORTING
    writes = [(row.version - 1 - CLAIM_AND_FINISH - FIRST_AND_LAST) / reported for row in rows]
    findings.compare("writes a second of one task", "—", Goal(at_most=5, unit="/s"), writes)
    landed = [float(json.loads(row.progress_detail or "null") == LAST) for row in rows]
    findings.compare("the last value has landed", "—", Goal(at_least=1, unit="of 1"), landed)
    findings.details["nanoseconds_a_turn"] = turns
    return findings


def ended(stack: Stack) -> Any:
    """The row of the newest task, once it has succeeded."""
    return wait_for(lambda: (found := stack.sql(ROW)[0]).status == "succeeded" and found, 300, "the loop to end")
