"""How many statements and broker commands something took: figures that do not jitter."""

import json
import time
from collections import Counter

import redis

from tests.performance.bench import Bench
from tests.performance.drain import LOOK
from tests.support.stack import Stack

# By statement: how often, and how many microseconds in all.
Statements = dict[str, tuple[float, float]]
Seen = tuple[float, "Counter[str]", Statements]  # when, and what was counted by then

STATEMENTS = """
SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
WHERE toplevel AND NOT starts_with(query, 'SELECT {look}')
AND dbid = (SELECT oid FROM pg_database WHERE datname = '{database}')"""
BY_STATEMENT = """
SELECT json_agg(json_build_array(query, calls, microseconds)) FROM (
    SELECT query, sum(calls) AS calls, sum(total_exec_time) * 1000 AS microseconds FROM pg_stat_statements
    WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = '{database}') GROUP BY query) AS found"""
RARE = 0.05  # of a statement to one of what is counted: background
SHORT = 110
OWN = (
    "info",
    "auth",
    "hello",
    "client|setinfo",
    "scan",
    "type",
    "llen",
)  # of this counting, and of other looks at the broker


class Counts:
    """Of one deployment's database, and of the whole broker. Looking does not count: it asks from another database."""

    def __init__(self, bench: Bench, stack: Stack) -> None:
        self._postgres, self._database = bench.services.postgres, stack.database
        self._broker: redis.Redis = bench.broker(stack.broker_url)
        self._postgres.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", "postgres")

    def statements(self) -> Statements:
        """How often each was run so far, and how long it took in all."""
        found = json.loads(self._postgres.sql(BY_STATEMENT.format(database=self._database), "postgres") or "[]")
        return {" ".join(query.split()): (calls, spent) for query, calls, spent in found}

    def seen(self) -> Seen:
        return time.perf_counter(), self.now(), self.statements()

    def now(self) -> "Counter[str]":
        found: Counter[str] = Counter()
        found["SQL statements"] = int(
            self._postgres.sql(STATEMENTS.format(database=self._database, look=LOOK), "postgres")
        )
        for command, figures in self._broker.info("commandstats").items():
            name = command.removeprefix("cmdstat_")
            if name not in OWN:
                found[f"broker {name}"] = int(figures["calls"])
        found["broker commands"] = sum(number for name, number in found.items() if name.startswith("broker "))
        return found


def each(
    before: "Counter[str]", after: "Counter[str]", number: float, background: dict[str, float]
) -> dict[str, float]:
    """What one of so many took, less what goes on anyway; nothing where that is next to nothing."""
    found = {name: (after[name] - before[name] - background.get(name, 0.0)) / number for name in after}
    return {name: round(value, 3) for name, value in sorted(found.items()) if value > 0.01}


def by_statement(before: Statements, after: Statements, number: float) -> list[dict[str, str | float]]:
    """The statements of one of so many: how often, and microseconds of PostgreSQL for each run of it; dearest first."""
    found: list[dict[str, str | float]] = []
    for query, (calls, spent) in after.items():
        calls_before, spent_before = before.get(query, (0.0, 0.0))
        times = calls - calls_before
        if times / number >= RARE:
            found.append(
                {
                    "statement": query[:SHORT],
                    "each": round(times / number, 2),
                    "microseconds": round((spent - spent_before) / times, 1),
                }
            )
    return sorted(found, key=lambda line: -float(line["each"]) * float(line["microseconds"]))
