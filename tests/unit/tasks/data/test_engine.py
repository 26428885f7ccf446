"""How queries run: into files of their own."""

from pathlib import Path

from app.tasks.data.engine import new_file


def test_a_query_that_goes_on_after_its_error_writes_to_no_later_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with new_file(path) as failed:
        with new_file(path) as later:
            later.write(b"whole")
        failed.truncate(0)
        failed.write(b"late")
    assert path.read_bytes() == b"whole"
    with new_file(path) as failed:
        path.unlink()
        failed.write(b"late")
    assert not path.exists()
