"""Tables profiled, transformed and predicted beside plain scripts of polars and scikit-learn, on one file each."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.support.services import ROOT, process_environment

JOBS = (("profile", "csv"), ("transform", "csv"), ("transform", "parquet"), ("transform", "jsonl"), ("predict", "csv"))
COLUMNS, TRAINED_ROWS = 20, 20_000
COMPARATORS = "tests.performance.comparators"
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Cost:
    """`wall` and `cpu` in seconds, `memory` the highest of the process in MiB."""

    wall: float
    cpu: float
    memory: float


def measure(bench: Bench) -> Findings:
    findings = Findings("tables")
    file, small, model = (bench.directory / name for name in ("table.csv", "small.csv", "model.skops"))
    frame = _frame(bench.size.table_rows)
    frame.write_csv(file)
    frame.write_parquet(file.with_suffix(".parquet"))
    frame.write_ndjson(file.with_suffix(".jsonl"))
    frame.head(TRAINED_ROWS).write_csv(small)
    _run("tables", "train", small, model)
    for job, ending in JOBS:
        source = file.with_suffix(f".{ending}")
        pairs = [
            (_run("tables", job, source, model), _run("plain_tables", job, source, model))
            for _ in range(bench.size.rounds)
        ]
        what = f"{job} of {len(frame):,} × {COLUMNS}, {ending}"
        times = [ratio(ours.cpu, plain.cpu) for ours, plain in pairs]
        note = "wall {:.2f} against {:.2f} s".format(*(each.wall for each in pairs[-1]))
        findings.compare(f"{what}, CPU", "a plain script", Goal(at_most=1.15), times, note)
        more = [ours.memory - plain.memory for ours, plain in pairs]
        findings.compare(f"{what}, memory", "a plain script", Goal(at_most=100, unit="MiB more"), more)
    return findings


def _run(comparator: str, job: str, file: Path, model: Path) -> Cost:
    """Run the job in a process of its own, which says what it took."""
    command = [sys.executable, "-m", f"{COMPARATORS}.{comparator}", job, str(file), str(model), f"{file}.out"]
    said = subprocess.run(
        command, cwd=ROOT, env=process_environment({}), check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    wall, cpu, memory = map(float, said)
    return Cost(wall, cpu, memory / KIB_PER_MIB)


def _frame(rows: int) -> pl.DataFrame:
    """Return 20 columns of numbers, texts, truth values, dates and times; one lacks a twentieth of its values."""
    chance = np.random.default_rng(1)

    def whole(low: int, high: int) -> pl.Series:
        return pl.Series(chance.integers(low, high, rows))

    numbers = {f"i{digits}": whole(0, 1000 * 10**digits) for digits in range(1, 5)}
    fractions = {f"f{index}": pl.Series(np.round(chance.normal(0, 100, rows), 4)) for index in range(1, 8)}
    days = {f"d{index}": whole(10_000, 20_000).cast(pl.Int32).cast(pl.Date) for index in (1, 2)}
    moments = (whole(10**9, 2 * 10**9) * 10**6).cast(pl.Datetime("us"))
    return pl.DataFrame(
        {
            **numbers,
            **fractions,
            "city": "city " + whole(0, 500).cast(pl.String),
            "code": whole(0, 10**9).cast(pl.String) + "-ab",
            "words": whole(0, 10).cast(pl.String) + " words in a row",
            "i5": pl.select(pl.when(whole(0, 20) > 0).then(whole(0, 99))).to_series(),
            **days,
            "w1": moments.dt.to_string("%Y-%m-%dT%H:%M:%S"),
            "b1": whole(0, 2) == 1,
            "b2": whole(0, 2) == 1,
        }
    )
