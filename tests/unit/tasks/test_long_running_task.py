"""The task to try the service with: takes its time, in steps, and stops when it is asked to."""

import time

import pytest

from app.tasks import common_tasks
from app.tasks.common_tasks import long_running_task
from app.testing import TaskRunner, run_task


class TestLongRunningTask:
    def test_takes_the_time_and_hands_other_arguments_back(self) -> None:
        started = time.monotonic()
        result = long_running_task(0.2, steps=4, param="value")
        assert time.monotonic() - started >= 0.2
        assert result["elapsed"] >= 0.2
        del result["elapsed"]
        assert result == {"duration": 0.2, "steps": 4, "parameters": {"param": "value"}}

    @pytest.mark.parametrize(("duration", "steps"), [(0.1, 1000), (0, 3)])
    def test_many_steps_do_not_add_to_the_time(self, duration: float, steps: int) -> None:
        started = time.monotonic()
        assert long_running_task(duration, steps=steps)["steps"] == steps
        assert time.monotonic() - started < 5

    def test_reports_progress_before_each_step_and_at_the_end(self) -> None:
        run = run_task(long_running_task, 0, steps=4)
        assert run.percents == [0, 25, 50, 75, 100]

    @pytest.mark.parametrize(("duration", "steps"), [(-1, 10), (1, 0), (1, -5)])
    def test_refuses_what_makes_no_sense(self, duration: float, steps: int) -> None:
        with pytest.raises(ValueError, match=r"negative|one step"):
            long_running_task(duration, steps=steps)

    def test_a_cancellation_is_heard_within_a_long_step_and_the_progress_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(common_tasks, "MAX_SLEEP_SECONDS", 0.01)
        started = time.monotonic()
        run = TaskRunner(cancel_after=3).run(long_running_task, 60, steps=1)
        assert time.monotonic() - started < 5
        assert (run.status, run.percents) == ("revoked", [0, None, None])
