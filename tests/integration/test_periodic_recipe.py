"""The periodic tasks of docs/recipes.md, with two real beats and a worker: each period once."""

import os
import re
from pathlib import Path

from sqlalchemy import select

from app.models.worker import Period
from tests.support.services import ROOT, Services
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

SECONDS = 60.0
PERIOD = 2.0
# What the recipe says, and what this test cannot wait for.
QUICKER = {
    "crontab(hour=3, minute=30)": f"timedelta(seconds={PERIOD})",
    "timedelta(minutes=10)": f"timedelta(seconds={PERIOD})",
}


def recipe(owner: str) -> str:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"```python\n((?:(?!```).)*on_after_finalize.*?)```", text, flags=re.DOTALL)
    for written, quicker in {**QUICKER, 'OWNER = "admin"': f"OWNER = {owner!r}"}.items():
        assert module.count(written) == 1
        module = module.replace(written, quicker)
    return str(module)


def sent(beats: list[Part], entry: str) -> int:
    return sum(beat.output().count(f"beat: sending {entry} ") for beat in beats)


def test_each_period_runs_once_however_many_beats_run(services: Services, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "myteam").mkdir(parents=True)
    variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{mine}", "TASK_MODULES": "myteam.nightly"}
    with Stack(services, tmp_path, **variables) as stack:
        module = mine / "myteam" / "nightly.py"
        module.write_text("", encoding="utf-8")
        user, _ = stack.make_user()  # its server knows no tasks yet
        module.write_text(recipe(user["username"]), encoding="utf-8")
        began = stack.now()
        beats = [
            stack.start_part("beat", ["celery", "-A", "app", "beat", "-l", "info", "-s", str(tmp_path / name)], None)
            for name in ("first", "second")
        ]
        worker = stack.worker(concurrency=1)
        wait_for(lambda: sent(beats, "myteam: report") >= 4, SECONDS, "four periods")
        for beat in beats:
            beat.stop(30)  # what it has logged as sent is sent
        reports = sent(beats, "myteam: report")
        tidied = sent(beats, "myteam: tidy")

        with stack.engine.begin() as db:
            fired = db.execute(select(Period.fired_at).where(Period.name == "myteam: report")).scalar_one()
        assert reports <= (fired - began).total_seconds() / PERIOD
        # With a record, as the user's tasks.
        done = "SELECT name FROM tasks WHERE status = 'succeeded' AND user_id = :id"
        wait_for(lambda: len(stack.sql(done, id=user["id"])) >= reports, SECONDS, "the reports")
        names = [row[0] for row in stack.sql("SELECT name FROM tasks")]
        assert len(names) == reports
        assert all(name.startswith("report of ") for name in names)
        # Without one.
        wait_for(lambda: worker.output().count("tidied") >= tidied, SECONDS, "the tidying")
        assert worker.output().count("tidied") == tidied
        assert {row[0] for row in stack.sql("SELECT name FROM periods")} == {"myteam: report", "myteam: tidy"}
