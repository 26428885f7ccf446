"""Makes the pictures of README.md from the real pages: `python -m tests.support.screenshots`."""

import tempfile
from pathlib import Path
from typing import Any

from tests.support.accounts import PASSWORD
from tests.support.browser import Scheme, Visitor, running_browser
from tests.support.running import Running
from tests.support.services import ROOT, Services
from tests.support.stack import Stack
from tests.support.tasks import LONG_RUNNING
from tests.support.waiting import wait_for

IMAGES = ROOT / "docs" / "img"
MAX_BYTES = 200_000
PERCENT = 40
# The tasks of the list: name, seconds, and what else a client sends.
LISTED: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("Import of customers", 0.1, {"tags": ["import"]}),
    ("Invoice 2026-1107", 0.1, {"priority": "high", "tags": ["invoices"]}),
    ("Thumbnails of the gallery", 0.1, {"priority": "low"}),
    ("Forecast for December", -1, {"tags": ["forecast"]}),
    ("Newsletter", 60, {"run_at": "2030-01-01T06:00:00Z", "tags": ["mail"]}),
)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        Services() as services,
        running_browser() as browser,
        Stack(services, Path(directory), WEB_UI="true") as stack,
    ):
        running = Running(stack)
        stack.worker()
        username = running.http.get("/api/v1/users/me").json()["username"]
        listed = [running.create(LONG_RUNNING, seconds, name=name, **more) for name, seconds, more in LISTED]
        for task in listed[:4]:
            running.ended(task)
        schemes: tuple[Scheme, ...] = ("light", "dark")
        for scheme in schemes:
            task = running.create(LONG_RUNNING, 20, name="Monthly report", tags=["nightly", "reports"])
            visitor = Visitor(browser, stack.url, scheme=scheme, width=960)
            visitor.sign_in(username, PASSWORD)
            visitor.page.goto(f"tasks/{task}")
            bar = visitor.page.get_by_role("progressbar")
            wait_for(lambda: int(bar.get_attribute("aria-valuenow") or 0) >= PERCENT, 30, "the progress")  # noqa: B023
            visitor.page.screenshot(path=IMAGES / f"task-{scheme}.png", full_page=True)
            visitor.page.set_viewport_size({"width": 1200, "height": 640})
            visitor.page.goto("tasks")
            visitor.page.get_by_text("Newsletter").wait_for()
            visitor.page.screenshot(path=IMAGES / f"list-{scheme}.png", full_page=True)
            visitor.close()
            running.post(task, "cancel")
    for image in (*IMAGES.glob("task-*.png"), *IMAGES.glob("list-*.png")):
        assert image.stat().st_size < MAX_BYTES, image


if __name__ == "__main__":
    main()
