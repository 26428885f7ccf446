"""How queries run: into files of their own."""

from pathlib import Path

import polars as pl
import pytest

from app.tasks.data import engine
from app.tasks.data.engine import Watch, new_file
from app.tasks.data.errors import UnusableData


def test_a_query_that_goes_on_after_its_error_writes_to_no_later_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with new_file(path) as failed:
        with new_file(path) as later:
            later.write(b"whole")
        failed.write(b"late")
    assert path.read_bytes() == b"whole"
    with new_file(path) as failed:
        path.unlink()
        failed.write(b"late")
    assert not path.exists()


@pytest.mark.parametrize("sink", ["sink_csv", "sink_parquet", "sink_ndjson"])
def test_a_file_takes_no_more_than_its_bytes(tmp_path: Path, sink: str) -> None:
    frame = pl.LazyFrame({"a": range(100_000)})
    with (
        pytest.raises(UnusableData, match="the output is larger than 1000 bytes"),
        new_file(tmp_path / "a", 1000) as file,
    ):
        getattr(frame, sink)(file)
    with new_file(tmp_path / "a", 10**7) as file:
        getattr(frame, sink)(file)
    assert (tmp_path / "a").stat().st_size == file.size


def test_rows_of_huge_values_end_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary may hold one long text for all of them: a file of 1 MB, and 100 GB to write."""
    monkeypatch.setattr(engine, "MAX_BATCH_BYTES", 10_000)
    frame = pl.LazyFrame({"a": ["x" * 1000] * 1000})
    with pytest.raises(UnusableData, match=r"rows hold .* bytes of values, more than 10000: split them"):
        Watch().over(frame).collect(engine="streaming")
    assert Watch().over(frame.head(5)).collect(engine="streaming").height == 5
