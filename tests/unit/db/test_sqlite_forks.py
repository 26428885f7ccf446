"""A process that forks while it uses SQLite: the child inherits no open file, and no lock that it cannot let go of."""

import sys
from pathlib import Path

import pytest

from tests.support.sources import run_program

PROGRAM = """
import os, sys, threading
import psutil
from app.db import session

parents = session.engine()
with parents.begin() as db:
    db.exec_driver_sql("CREATE TABLE written (id INTEGER PRIMARY KEY)")
inside, forking = threading.Event(), threading.Event()

def insert(engine, begun=None):
    with engine.begin() as db:
        db.exec_driver_sql("INSERT INTO written DEFAULT VALUES")
        if begun:
            begun.set()
            assert forking.wait(20)

writer = threading.Thread(target=insert, args=(parents, inside))
with parents.begin(), session.group_engine().begin():  # and two more, which are idle then
    writer.start()
    assert inside.wait(20)
os.register_at_fork(before=forking.set)  # of these hooks the last one comes first
child = os.fork()
if child == 0:
    try:
        print(sum(".db" in each.path for each in psutil.Process().open_files()), "open")
        insert(session.engine())
    except BaseException as error:
        print(error)
    finally:
        sys.stdout.flush()
        os._exit(0)
os.waitpid(child, 0)
writer.join(20)
insert(parents)
with parents.begin() as db:
    print(db.exec_driver_sql("SELECT count(*) FROM written").scalar_one(), "written")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_fork_waits_for_the_writer_and_closes_what_is_open(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path / 'a.db'}", "SECRET_KEY": "x" * 40}
    more = {"APP_ENV": "development", "DATABASE_STATEMENT_TIMEOUT_SECONDS": "2"}
    assert run_program(PROGRAM, **settings, **more).splitlines() == ["0 open", "3 written"]
