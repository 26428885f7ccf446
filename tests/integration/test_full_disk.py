"""SQLite on a disk that is full, or read-only: `/readyz` says so, though every read is answered."""

from pathlib import Path

from tests.support.services import process_environment
from tests.support.small_disk import needs_small_disk, run_on_small_disk

BODY = """
import subprocess, sys
from pathlib import Path
subprocess.run([sys.executable, "-m", "app", "migrate"], check=True)
from app.db.session import dispose_engine, engine
from app.services.health_service import check_database

disk = Path(sys.argv[1])
tell = lambda: print(check_database(), flush=True)
tell()
with (disk / "filler").open("wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)):
            pass
    except OSError:
        tell()
(disk / "filler").unlink()
tell()
with engine().connect() as connection:
    connection.exec_driver_sql("PRAGMA query_only = ON")
tell()
dispose_engine()
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
tell()
"""


@needs_small_disk
def test_is_told_until_there_is_room_again(tmp_path: Path) -> None:
    environment = process_environment({"DATABASE_URL": f"sqlite:///{tmp_path / 'tasks.db'}"})
    done = run_on_small_disk(BODY, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    full, only_reads = "its disk is full: it takes no writes", "read-only: it takes no writes"
    # The last one is asked of a new connection, which SQLite does not open there: it has a log to write.
    assert done.stdout.splitlines()[-5:] == ["ok", full, "ok", only_reads, "does not answer"]
