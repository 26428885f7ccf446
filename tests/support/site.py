"""The pages on real processes, and those who visit them."""

from typing import Any

from playwright.sync_api import Browser

from tests.support.accounts import PASSWORD, login
from tests.support.browser import Visitor
from tests.support.running import Running
from tests.support.stack import Stack


class Site:
    """The service with one worker, an administrator and a browser. `visit` opens the pages as a new visitor."""

    def __init__(self, browser: Browser, stack: Stack) -> None:
        self.browser, self.stack = browser, stack
        self.user, self.admin = (stack.make_user(role)[0] for role in ("user", "admin"))
        self.visitors: list[Visitor] = []

    def visit(self, account: dict[str, Any] | None = None, **options: Any) -> Visitor:
        visitor = Visitor(self.browser, self.stack.url, **options)
        self.visitors.append(visitor)
        if account is not None:
            visitor.sign_in(account["username"], PASSWORD)
        return visitor

    def api(self, account: dict[str, Any]) -> Running:
        """What tests do as this user over the API."""
        running = Running(self.stack)
        running.http = self.stack.api(login(self.stack.api(""), account["username"])["access_token"])
        return running

    def leave(self) -> list[str]:
        """Close all visitors; what their pages complained of."""
        complaints = [line for visitor in self.visitors for line in visitor.complaints]
        for visitor in self.visitors:
            visitor.close()
        self.visitors.clear()
        return complaints
