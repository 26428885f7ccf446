"""What a step costs beside a report of progress that is committed alone, and whether a thousand stay linear."""

import json
import statistics
from typing import Any

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.sections.progress import ended

NUMBER = 1_000
AT_ONCE = {"PROGRESS_INTERVAL_SECONDS": "0.000001"}


def measure(bench: Bench) -> Findings:
    findings = Findings("steps")
    rounds: list[dict[str, list[float]]] = []
    with bench.new_stack(**AT_ONCE) as stack:
        user = bench.new_user(stack)
        with bench.worker(stack, 1):
            for _ in range(bench.size.rounds):
                bench.fill(stack, user, "measured.steps", 1, NUMBER)
                rounds.append(json.loads(ended(stack).result))
    costs = [ratio(statistics.median(each["step"]), statistics.median(each["progress"])) for each in rounds]
    note = "{:.0f} against {:.0f} µs".format(*(_microseconds(rounds[-1][way]) for way in ("step", "progress")))
    findings.compare("a step", "an UPDATE of progress committed alone", Goal(at_most=1.2), costs, note)
    growth = [ratio(statistics.median(each["step"][-3:]), statistics.median(each["step"][:3])) for each in rounds]
    findings.compare(f"the last 300 of {NUMBER:,} steps of a task", "the first 300", Goal(at_most=1.2), growth)
    findings.details["seconds"] = rounds
    return findings


def _microseconds(chunks: list[float]) -> Any:
    return 1e6 * statistics.median(chunks) / (NUMBER / len(chunks))
