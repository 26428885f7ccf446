"""Makes the pictures of README.md and docs/pages.md from the real pages: `python -m tests.support.screenshots`."""

import tempfile
from pathlib import Path
from typing import Any

from tests.support.accounts import PASSWORD
from tests.support.browser import Scheme, Visitor, running_browser
from tests.support.running import LOAD_EXAMPLES, Running
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
        Stack(services, Path(directory), WEB_UI="true", **LOAD_EXAMPLES) as stack,
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
        _take_more(running, Visitor(browser, stack.url), username)
    for image in (
        image for kind in ("task", "list", "overview", "error", "new") for image in IMAGES.glob(f"{kind}-*.png")
    ):
        assert image.stat().st_size < MAX_BYTES, image


def _take_more(running: Running, visitor: Visitor, username: str) -> None:
    """Those of docs/pages.md: the overview of a service that has trouble, a group of failures, a nested form."""
    for number in range(6):
        running.ended(running.create("say_and_fail", "the disk is full", name=f"Report {number}"))
        running.ended(running.create(LONG_RUNNING, 0.2 * number, name=f"Import {number}", tags=["import"]))
    groups = wait_for(lambda: running.http.get("/api/v1/errors/").json(), 30, "the group of the failures")
    visitor.sign_in(username, PASSWORD)
    for name, path, height in (
        ("overview", "", 900),
        ("error", f"errors/{groups[0]['fingerprint']}", 900),
        ("new", "new?task=tests.ship", 1000),
    ):
        visitor.page.set_viewport_size({"width": 1200, "height": height})
        visitor.page.goto(path or visitor.url + "/ui/")
        if name == "new":
            visitor.page.get_by_role("button", name="Add").first.click()
            visitor.page.locator("#task-form fieldset input:visible").first.wait_for()
        # A traceback names files of this machine.
        visitor.page.evaluate(
            "root => document.querySelectorAll('pre').forEach(each => each.textContent = each.textContent.replaceAll(root, '/srv/app'))",
            str(ROOT),
        )
        visitor.page.screenshot(path=IMAGES / f"{name}-light.png")
    visitor.close()


if __name__ == "__main__":
    main()
