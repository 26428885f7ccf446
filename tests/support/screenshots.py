"""Makes the pictures of README.md from the real pages: `python -m tests.support.screenshots`."""

import tempfile
from pathlib import Path

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
        schemes: tuple[Scheme, ...] = ("light", "dark")
        for scheme in schemes:
            task = running.create(LONG_RUNNING, 20, name="Monthly report", tags=["nightly", "reports"])
            visitor = Visitor(browser, stack.url, scheme=scheme, width=960)
            visitor.sign_in(username, PASSWORD)
            visitor.page.goto(f"tasks/{task}")
            bar = visitor.page.get_by_role("progressbar")
            wait_for(lambda: int(bar.get_attribute("aria-valuenow") or 0) >= PERCENT, 30, "the progress")  # noqa: B023
            visitor.page.screenshot(path=IMAGES / f"task-{scheme}.png", full_page=True)
            visitor.close()
            running.post(task, "cancel")
    for image in IMAGES.glob("task-*.png"):
        assert image.stat().st_size < MAX_BYTES, image


if __name__ == "__main__":
    main()
