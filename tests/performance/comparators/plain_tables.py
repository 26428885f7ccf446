"""Tables by hand, as a plain script of polars and scikit-learn does it: `python -m … JOB FILE MODEL DESTINATION`.

It prints seconds, seconds of CPU, and the highest memory in KiB. Imports count in the last of them alone.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import skops.io

FILTER = {"op": ">", "args": [{"property": "i1"}, 250]}
BINS = 20


def profile(file: Path, _model: Path, _destination: Path) -> None:
    """Measure each column: missing, distinct, extremes, mean, quantiles, frequent values, histogram."""
    frame = pl.read_csv(file, try_parse_dates=True)
    for series in frame:
        series.null_count(), series.n_unique(), series.min(), series.max()
        series.value_counts(sort=True).head(10)
        if series.dtype.is_numeric():
            series.mean()
            [series.quantile(each) for each in (0.05, 0.25, 0.5, 0.75, 0.95)]
            series.drop_nulls().hist(bin_count=BINS)


def transform(file: Path, _model: Path, destination: Path) -> None:
    """Filter and group, in a stream."""
    rows = pl.scan_parquet(file) if file.suffix == ".parquet" else pl.scan_csv(file)
    if file.suffix == ".jsonl":
        rows = pl.scan_ndjson(file)
    groups = rows.filter(pl.col("i1") > 250).group_by("city", maintain_order=True)
    groups.agg(pl.col("f1").sum().alias("total"), pl.len().alias("rows")).sink_csv(destination)


def predict(file: Path, model: Path, destination: Path) -> None:
    """Predict batch by batch from the columns of numbers."""
    pipeline: Any = skops.io.load(model, trusted=skops.io.get_untrusted_types(file=model))
    names = [f"f{index}" for index in range(1, 7)]
    parts = pl.scan_csv(file).select(names).collect_batches(chunk_size=65_536, maintain_order=True)
    found = [pipeline.predict(part.to_numpy(order="c")) for part in parts]
    pl.concat([pl.DataFrame({"prediction": each}) for each in found]).write_parquet(destination)


def run(jobs: dict[str, Callable[[Path, Path, Path], None]], name: str, *paths: str) -> None:
    """Run the job and print its cost."""
    begun, cpu = time.perf_counter(), time.process_time()
    jobs[name](*map(Path, paths))
    spent = time.perf_counter() - begun, time.process_time() - cpu
    sys.stdout.write(f"{spent[0]} {spent[1]} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    run({"profile": profile, "transform": transform, "predict": predict}, *sys.argv[1:])
