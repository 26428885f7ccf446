"""Run polars with progress, with an end on request, and with errors in words without its internals."""

import math
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any, BinaryIO, Generic, TypeVar

import polars as pl
from celery.exceptions import SoftTimeLimitExceeded

from app.tasks.data.errors import UnusableData

# How much of a text polars parses at once in each thread, and it has some such pieces at a time. A byte can be a cell
# of 16 bytes and more: with its own choice, 40 MB of commas took 600 MiB.
for setting in ("POLARS_CSV_CHUNK_SIZE", "POLARS_NDJSON_CHUNK_SIZE"):
    os.environ.setdefault(setting, str(256 << 10))

# A fault of polars itself, for which it has no error: for example on some damaged files. Not an Exception.
Panic: type[BaseException] = pl.exceptions.PanicException

POLL_SECONDS = 0.2
# For a query to end that its body leaves at the soft time limit.
GRACE_SECONDS = 5.0
# Of the values of some ten thousand rows. A file can say in a few bytes that they are all the same long text.
MAX_BATCH_BYTES = 1 << 30
# Of the rows that a writer holds at a time. By itself polars holds some 120,000 rows, however wide they are.
BATCH_CELLS = 4_000_000
ROW_GROUP = 122_880
TEXT_BYTES = 16  # polars' view of a text: its length, and where it is
NUMBER_BYTES = 8
SHOWN_CHARACTERS = 80
UNCONVERTED = re.compile(
    r"conversion from `(?P<from>.+?)` to `(?P<to>.+?)` failed in column .*?: \[(?P<values>.*?)\]\n", re.DOTALL
)
WIDE = "i128"

Result = TypeVar("Result")
# Called with the percent done and a detail. What it raises ends the work.
Report = Callable[[int, dict[str, Any]], None]


class Stopped(Exception):
    """A query was asked to end."""


class Watch:
    """Counts the rows that pass through frames, and ends their queries when it is stopped."""

    def __init__(self) -> None:
        self.rows = 0
        self.missing = 0
        self.is_stopped = False
        self._lock = Lock()

    def over(self, frame: pl.LazyFrame, last: str | None = None) -> pl.LazyFrame:
        """Return the same frame, whose batches pass here. A filter behind it does not move before it.

        The missing values of the column `last` are counted in `missing`; all columns are then read.
        """
        return frame.map_batches(
            partial(self._pass, last=last),
            streamable=True,
            projection_pushdown=last is None,
            validate_output_schema=False,
        )

    def stop(self) -> None:
        self.is_stopped = True

    def check(self) -> None:
        """Raise Stopped if the query is to end."""
        if self.is_stopped:
            raise Stopped

    def restart(self) -> None:
        """Count from 0."""
        self.rows = self.missing = 0

    def _pass(self, batch: pl.DataFrame, last: str | None) -> pl.DataFrame:
        self.check()
        check_batch(batch)
        with self._lock:
            self.rows += batch.height
            self.missing += 0 if last is None else batch.get_column(last).null_count()
        return batch


class _Query(Generic[Result]):
    """A function that runs in a thread of its own."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._done: list[Result] = []
        self._failed: list[BaseException] = []
        self._has_ended = False
        # Held while it runs. `Thread.join` and `is_alive` are not to be trusted after an exception of a signal's
        # handler: CPython up to 3.12 then takes the thread for one that has ended.
        self._running = Lock()
        self._begun = Lock()  # taken by its thread, or by a `start` that has failed before: the other one does nothing

    def start(self) -> None:
        """Start its thread. Where that fails before any work, it has ended, and no work is done later."""
        self._running.acquire()
        try:
            Thread(target=self._run, name="polars-query").start()
        except BaseException:
            if self._begun.acquire(blocking=False):
                self._has_ended = True
            raise

    def wait(self, seconds: float) -> bool:
        """Wait for its end, for so many seconds at most. Returns whether it has ended."""
        if not self._has_ended:
            self._running.acquire(timeout=seconds)
        return self._has_ended

    def result(self) -> Result:
        """Return what the function has returned, or raise what it has raised, once it has ended."""
        if self._failed:
            raise self._failed[0]
        return self._done[0]

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._done.append(self._work())
        except BaseException as error:  # noqa: BLE001 - a Panic is no Exception; `result` raises it again
            self._failed.append(error)
        finally:
            self._has_ended = True
            self._running.release()


def run(work: Callable[[], Result], watches: Iterable[Watch], report: Callable[[], None]) -> Result:
    """Return the result of `work`, which runs in a thread. `report` is called a few times a second meanwhile.

    Whatever `report` or the handler of a signal raises stops the frames under `watches`, and is raised here once `work`
    has ended: nothing goes on. A native call that looks at no watch goes on all the same. After a cancellation, the
    worker kills the process that waits here. At the soft time limit the body ends GRACE_SECONDS later, and the worker
    ends the process after it.
    """
    query = _Query(work)
    try:
        query.start()
        has_ended = False
        while not has_ended:
            has_ended = query.wait(POLL_SECONDS)
            report()
    except BaseException as error:
        last = _stop(query, tuple(watches), error)
        if last is not error:
            raise last from error
        raise
    return query.result()


def _stop(query: _Query[Any], watches: Collection[Watch], error: BaseException) -> BaseException:
    """Stop the query because of the error, and wait for its end. Returns the last error: another may come meanwhile."""
    while True:
        try:
            for watch in watches:
                watch.stop()
            if isinstance(error, SystemExit | KeyboardInterrupt):  # the process ends
                return error
            until = time.monotonic() + GRACE_SECONDS if isinstance(error, SoftTimeLimitExceeded) else math.inf
            while not query.wait(POLL_SECONDS) and time.monotonic() < until:
                pass
        except BaseException as later:  # noqa: BLE001 - it is raised once the query has ended
            error = later
        else:
            return error


def row_bytes(schema: Mapping[str, pl.DataType]) -> int:
    """Return how many bytes a row of these columns takes in memory, at least."""
    return sum(TEXT_BYTES if dtype in (pl.String, pl.Binary) else NUMBER_BYTES for dtype in schema.values())


def batch_rows(columns: int) -> int:
    """Return how many rows of a table so wide a writer may hold at a time."""
    return max(1, min(ROW_GROUP, BATCH_CELLS // max(1, columns)))


def check_batch(batch: pl.DataFrame) -> None:
    """Raise UnusableData for rows whose values, each by itself, take more than MAX_BATCH_BYTES."""
    size = batch.estimated_size()
    if size > MAX_BATCH_BYTES:
        raise UnusableData(f"{batch.height} rows hold {size} bytes of values, more than {MAX_BATCH_BYTES}: split them")


def too_large(max_bytes: int | None) -> UnusableData:
    return UnusableData(f"the output is larger than {max_bytes} bytes: filter more rows, or select less")


class NewFile:
    """A file that takes `max_bytes` bytes; the next one raises UnusableData."""

    def __init__(self, file: BinaryIO, max_bytes: int | None) -> None:
        self._file, self._max_bytes, self.size = file, max_bytes, 0

    @property
    def is_full(self) -> bool:
        """Return whether more bytes came than it takes. An error of polars may hide the one that `write` has raised."""
        return self._max_bytes is not None and self.size > self._max_bytes

    def write(self, piece: bytes) -> int:
        self.size += len(piece)
        self.check()
        return self._file.write(piece)

    def check(self) -> None:
        """Raise UnusableData if more bytes came than it takes."""
        if self.is_full:
            raise too_large(self._max_bytes)

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def new_file(path: Path, max_bytes: int | None = None) -> Iterator[Any]:
    """Open a new file for a query to write to, instead of any that is there. Raises UnusableData where it is full.

    A query that fails may go on for a moment: given a path, it would make or empty the file after the error.
    """
    path.unlink(missing_ok=True)
    with path.open("xb") as opened:
        file = NewFile(opened, max_bytes)
        try:
            yield file
        except (pl.exceptions.PolarsError, Panic, OSError):
            file.check()
            raise


def as_parquet(frame: pl.LazyFrame, columns: int, folder: Path, watch: Watch) -> pl.LazyFrame:
    """Write the frame, which `watch` is over and counts anew, to a Parquet file, and return the frame over this."""
    target = folder / "table.parquet"
    watch.restart()
    with new_file(target) as file:
        frame.sink_parquet(file, compression="uncompressed", statistics=False, row_group_size=batch_rows(columns))
    return pl.scan_parquet(target, glob=False)


@contextmanager
def polars_errors(sentence: str) -> Iterator[None]:
    """Make an error of polars an UnusableData with this sentence."""
    try:
        yield
    except (pl.exceptions.PolarsError, Panic):
        raise UnusableData(sentence) from None


@contextmanager
def query_errors() -> Iterator[None]:
    """Make an error of a query an UnusableData, which names the values that could not be converted."""
    try:
        yield
    except (pl.exceptions.PolarsError, Panic) as error:
        raise UnusableData(_explained(str(error))) from None


def _explained(text: str) -> str:
    found = UNCONVERTED.search(text)
    if found is None and "parquet" in text:
        return "the content of the file is damaged: write it again"
    if found is None:
        return "the data cannot be transformed like this: check that each expression fits the values of its columns"
    if found["from"] == WIDE:
        return "a calculation has a result beyond 64 bits: cast its arguments to number first"
    values = found["values"]
    shown = values if len(values) <= SHOWN_CHARACTERS else f"{values[:SHOWN_CHARACTERS]}..."
    if '"!"' in values:
        return "a cast failed: a value is no boolean, which is true or false"
    return f"a cast failed, because these values have no counterpart: {shown}: exclude or replace them with if"
