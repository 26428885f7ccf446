"""What a machine carries: a small model on CPU time, no more than the measured costs and three rules.

1. Work is CPU time, added up: a machine is full at `FULL` of its cores, since waiting times explode beyond.
2. Some things run on one core at most, however many there are: an API process, a worker's parent process, the broker.
   More API processes and more workers help the first two; for the third only another broker does.
3. PostgreSQL uses as many cores as it is given; where its disk or its locks end first, the model does not know it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

FULL = 0.7
PARTS = ("API", "worker parent", "worker children", "PostgreSQL", "broker")
Line = dict[str, float | str]  # of a table
ALONE = ("API", "worker parent", "broker")  # each process of these has one core at most


@dataclass(frozen=True)
class Costs:
    """CPU microseconds by part (`PARTS`) of one submit, one read, one run (claim and finish), one progress write."""

    submit: Mapping[str, float]
    read: Mapping[str, float]
    run: Mapping[str, float]
    progress: Mapping[str, float]


@dataclass(frozen=True)
class Mix:
    """What comes with one task: reads of it, written reports, and CPU seconds of its body."""

    reads: float = 2.0
    reports: float = 0.0
    body_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """For so many tasks a second: cores by part, the whole of them, and how many processes must share a part's work."""

    tasks_per_second: float
    cores: dict[str, float]
    api_processes: int
    workers: int
    bottleneck: str

    @property
    def all_cores(self) -> float:
        return sum(self.cores.values())


def microseconds(costs: Costs, mix: Mix) -> dict[str, float]:
    """CPU by part for one task and what comes with it."""
    found = {
        part: costs.submit.get(part, 0.0)
        + mix.reads * costs.read.get(part, 0.0)
        + costs.run.get(part, 0.0)
        + mix.reports * costs.progress.get(part, 0.0)
        for part in PARTS
    }
    found["worker children"] += 1e6 * mix.body_seconds
    return found


def most(costs: Costs, cores: float, mix: Mix) -> Plan:
    """The load at which a machine of so many cores is full, or its broker is."""
    spent = microseconds(costs, mix)
    machine = FULL * cores / (sum(spent.values()) / 1e6)
    broker = one_broker(costs, mix)
    return plan(costs, min(machine, broker), mix, "broker" if broker < machine else "cores of the machine")


def one_broker(costs: Costs, mix: Mix) -> float:
    """Tasks a second at which one broker is full, on however many machines: from there on, shard or change it."""
    spent = microseconds(costs, mix)["broker"]
    return FULL * 1e6 / spent if spent else math.inf


def plan(costs: Costs, tasks_per_second: float, mix: Mix, bottleneck: str = "") -> Plan:
    """What a load needs. Where nothing is named, the bottleneck is the part that takes the most cores."""
    cores = {part: tasks_per_second * spent / 1e6 for part, spent in microseconds(costs, mix).items()}
    processes = {part: max(1, math.ceil(cores[part] / FULL)) for part in ALONE}
    largest = max(cores, key=lambda part: cores[part])
    return Plan(tasks_per_second, cores, processes["API"], processes["worker parent"], bottleneck or largest)


def machines(costs: Costs, mix: Mix, cores: tuple[int, ...] = (2, 4, 8, 16, 32, 64)) -> list[Line]:
    """What each machine carries."""
    return [
        {"cores": number, **_line(found), "full first": found.bottleneck}
        for number in cores
        for found in [most(costs, number, mix)]
    ]


def loads(costs: Costs, mix: Mix, rates: tuple[int, ...] = (10, 100, 500, 1_000, 2_000, 5_000, 10_000)) -> list[Line]:
    """What each load needs."""
    return [
        {
            **_line(found),
            "cores": round(found.all_cores / FULL, 1),
            "brokers": max(1, math.ceil(found.cores["broker"] / FULL)),
        }
        for rate in rates
        for found in [plan(costs, rate, mix)]
    ]


def _line(found: Plan) -> Line:
    return {
        "tasks/s": round(found.tasks_per_second),
        "API processes": found.api_processes,
        "workers": found.workers,
        "pool children": max(1, math.ceil(found.cores["worker children"] / FULL)),
        "PostgreSQL cores": round(found.cores["PostgreSQL"], 2),
        "broker cores": round(found.cores["broker"], 2),
    }
