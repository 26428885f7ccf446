"""How many statements and broker commands something took: figures that do not jitter."""

from collections import Counter

import redis

from tests.performance.bench import Bench
from tests.support.stack import Stack

STATEMENTS = """
SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = '{database}')"""
OWN = ("info", "auth", "hello", "client|setinfo", "scan", "type", "llen")  # of this counting, and of whoever watches


class Counts:
    """Of one deployment's database, and of the whole broker. Looking does not count: it asks from another database."""

    def __init__(self, bench: Bench, stack: Stack) -> None:
        self._postgres, self._database = bench.services.postgres, stack.database
        self._broker: redis.Redis = bench.broker(stack.broker_url)
        self._postgres.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", "postgres")

    def now(self) -> "Counter[str]":
        found: Counter[str] = Counter()
        found["SQL statements"] = int(self._postgres.sql(STATEMENTS.format(database=self._database), "postgres"))
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
