"""What becomes of the tasks of a workflow, task by task: the model of `workflows/test_model.py`. Knows no database."""

from collections.abc import Collection, Sequence

PENDING, RUNNING, SUCCEEDED, FAILED, REVOKED = "pending", "running", "succeeded", "failed", "revoked"
ACTIVE, UNSUCCESSFUL = {PENDING, RUNNING}, {FAILED, REVOKED}


class Model:
    """`parents` are those of each task. `goes_on`: a task runs also where a parent has not succeeded."""

    def __init__(self, parents: Sequence[Collection[int]], *, goes_on: bool) -> None:
        self.parents = [set(each) for each in parents]
        self.goes_on = goes_on
        self.status = [PENDING] * len(parents)
        # What each waits for.
        self.open = [set(each) for each in parents]
        self.asked_to_stop: set[int] = set()
        self.has_begun = False

    @property
    def ready(self) -> set[int]:
        return {task for task, status in enumerate(self.status) if status == PENDING and not self.open[task]}

    @property
    def state(self) -> str:
        """Of the workflow."""
        found = set(self.status)
        if found & ACTIVE:
            return RUNNING if self.has_begun else PENDING
        return next((status for status in (FAILED, REVOKED) if status in found), SUCCEEDED)

    def claim(self, task: int) -> None:
        assert task in self.ready, f"{task} runs, and is {self.status[task]} and waits for {self.open[task]}"
        self.status[task], self.has_begun = RUNNING, True

    def lose(self, task: int) -> None:
        """Its worker is gone: it runs again."""
        if task in self.asked_to_stop:
            self._end(task, REVOKED)
        else:
            self.status[task] = PENDING

    def end(self, task: int, status: str) -> None:
        """Its body has ended. A success wins over a request to stop."""
        self._end(task, REVOKED if task in self.asked_to_stop and status == FAILED else status)

    def cancel(self, tasks: Collection[int]) -> None:
        waiting = [task for task in tasks if self.status[task] == PENDING]
        self.asked_to_stop |= {task for task in tasks if self.status[task] == RUNNING}
        for task in waiting:  # all at once, before any of them means something for another
            self.status[task] = REVOKED
        for task in waiting:
            self._end(task, REVOKED)

    def may_retry(self, task: int) -> bool:
        failed = any(self.status[parent] in UNSUCCESSFUL for parent in self.parents[task])
        return self.status[task] in UNSUCCESSFUL and (self.goes_on or not failed)

    def retry(self, tasks: Collection[int]) -> None:
        again = set(tasks)
        self.has_begun |= self.state not in ACTIVE  # one that had ended runs again, also where no task ever ran
        for task in again:
            self.status[task] = PENDING
            self.asked_to_stop.discard(task)
        for task in again:
            self.open[task] |= {parent for parent in self.parents[task] if self.status[parent] in ACTIVE}
        for task, status in enumerate(self.status):
            if task not in again and status == PENDING and self.open[task]:
                self.open[task] |= self.parents[task] & again

    def _end(self, task: int, status: str) -> None:
        self.status[task] = status
        self.asked_to_stop.discard(task)
        for child, its in enumerate(self.open):
            if task in its:
                waits = self.status[child] == PENDING
                its.discard(task)
                if waits and status != SUCCEEDED and not self.goes_on:
                    self._end(child, REVOKED)
