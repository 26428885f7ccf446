"""A client that knows no profile, and no variable of this machine."""

from pathlib import Path

import pytest


def forget_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have profiles in this folder alone, and no server or key from the environment."""
    monkeypatch.setenv("TASK_SERVICE_CONFIG", str(folder / "config"))
    for name in ("TASK_SERVICE_URL", "TASK_SERVICE_API_KEY", "TASK_SERVICE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
