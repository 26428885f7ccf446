"""A real browser for the tests of the pages: Debian's chromium, driven by playwright.

Every page of it notes what none may cause: a violation of the policy, a request to another host, an error of the script.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = 1280, 390
SECONDS = 20  # generous: a machine with two cores runs all that the pages show
Scheme = Literal["light", "dark"]


def why_not() -> str | None:
    """Why no browser can be started here; None where one can."""
    return None if _program() else f"none of {', '.join(PROGRAMS)} is installed: apt-get install chromium"


def _program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """A person at the browser, with cookies of their own."""

    def __init__(
        self, browser: Browser, url: str, language: str = "en-US", scheme: Scheme = "light", width: int = WIDE,
        *, scripts: bool = True,
    ) -> None:  # fmt: skip
        self.url = url
        self.context: BrowserContext = browser.new_context(
            base_url=f"{url}/ui/",
            locale=language,
            color_scheme=scheme,
            viewport={"width": width, "height": 800},
            java_script_enabled=scripts,
        )
        self.context.set_default_timeout(SECONDS * 1000)
        self.complaints: list[str] = []
        self.context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        self.context.on("console", lambda said: self._hear(said.type, said.text))
        self.context.on("request", lambda request: self._look(request.url))
        self.page: Page = self.context.new_page()

    def _hear(self, kind: str, text: str) -> None:
        # A page whose status is 4xx is told there, too; the tests look at the status themselves.
        if kind in {"error", "warning"} and "Failed to load resource" not in text:
            self.complaints.append(f"{kind}: {text}")

    def _look(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.complaints.append(f"request to {url}")

    def sign_in(self, username: str, password: str) -> None:
        self.page.goto("sign-in")
        self.page.get_by_label("Username").or_(self.page.get_by_label("用户名")).fill(username)
        self.page.get_by_label("Password").or_(self.page.get_by_label("密码")).fill(password)
        self.page.locator("main button").click()
        self.page.wait_for_url("**/ui/")

    def findings(self) -> list[str]:
        """What axe finds on the page as it is now: rule, and the first element."""
        self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = self.page.evaluate("axe.run().then((result) => result.violations)")
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]

    def close(self) -> None:
        self.context.close()


def press_and_confirm(page: Page, label: str) -> None:
    """Press the button, and in the dialog that asks the one that is called alike."""
    page.get_by_role("button", name=label, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Back")).to_be_focused()
    dialog.get_by_role("button", name=label, exact=True).click()


def select_all_that_match(page: Page) -> None:
    """Select the page's tasks, which shows the bar, and in it all others."""
    page.get_by_label("Select the page").check()
    page.get_by_label(re.compile(r"\ball [0-9,]*\+?\s*that match")).check()
