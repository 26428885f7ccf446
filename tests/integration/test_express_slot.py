"""The workers of `run_server.py`: a critical task does not wait for whatever fills the slots of the other queues."""

from pathlib import Path

from app.launcher.options import EXPRESS, parser, worker_commands
from tests.support.running import Start, started


def test_a_critical_task_starts_while_all_other_slots_are_held(start: Start, ledger: Path, gate: Path) -> None:
    running = start()
    for name, command in worker_commands(parser().parse_args(["--workers", "1", "--concurrency", "2"])).items():
        running.stack.start_part(name, command, None).await_line(" ready.")
    held = [running.create("hold_deaf", str(gate), str(ledger), priority="low") for _ in range(2)]
    started(ledger, 2)
    waiting = [running.create("echo", 1, priority=priority) for priority in ("low", "normal")]
    for priority in ("critical", "high"):
        ended = running.run("echo", 1, priority=priority)
        assert (ended["status"], ended["worker"].partition("@")[0]) == ("succeeded", EXPRESS)
    assert {running.status(task_id) for task_id in held} == {"running"}
    assert {running.status(task_id) for task_id in waiting} == {"pending"}
    gate.touch()
    for task_id in (*held, *waiting):
        ended = running.ended(task_id)
        assert (ended["status"], ended["worker"].partition("@")[0]) == ("succeeded", "worker1")
