"""What goes out: bodies, headers, problems."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

POLICY = "default-src 'none'; frame-ancestors 'none'"
TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/app.py", line 1'


@dataclass
class Reply:
    status: int
    body: Any
    kind: str = "application/json"
    policy: str = POLICY
    headers: dict[str, str] = field(default_factory=dict)

    def content(self, weak: str, asked: Any) -> bytes:
        if self.body is None:
            return b""
        if weak == "stored_markup" and "text/html" in (asked.get("Accept") or "") and self.status < 400:
            self.kind = "text/html"
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()

    def all_headers(self, weak: str, path: str, asked: Any) -> dict[str, str]:
        headers = {"Content-Type": self.kind, "Content-Security-Policy": self.policy, **self.headers}
        headers |= {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
        for name, header in (("security_headers", "X-Content-Type-Options"), ("no_store", "Cache-Control")):
            if weak == name:
                del headers[header]
        if weak == "no_framing":
            headers |= {"X-Frame-Options": "", "Content-Security-Policy": "default-src 'none'"}
        if weak == "no_banner":
            headers["Server"] = "weak/1.0"
        if weak == "no_cross_origin_reads" and asked.get("Origin"):
            headers["Access-Control-Allow-Origin"] = asked["Origin"]
        if weak == "header_splitting":
            headers["X-Path"] = path
        if weak == "no_session_cookie" and "login" in path:
            headers["Set-Cookie"] = "session=1"
        return headers


class Problem(Exception):
    """An answer of 400 and above; `rejected` is what a weak service would repeat."""

    def __init__(self, status: int, code: str, rejected: str = "", retry_after: int | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.rejected, self.retry_after = status, code, rejected, retry_after

    def reply(self, weak: str, path: str) -> Reply:
        if weak == "reflected_markup":
            return Reply(self.status, f"<h1>Not found: {path}</h1>", kind="text/html")
        body = {
            "type": f"urn:{self.code}", "title": self.code, "status": self.status, "detail": self.code,
            "instance": quote(path), "code": self.code, "request_id": str(id(self)),
        }  # fmt: skip
        if weak == "no_tracebacks":
            body["detail"] = TRACEBACK
        if weak == "no_echo":
            body["detail"] = self.rejected
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_after:
            headers["Retry-After"] = str(self.retry_after)
        if weak == "problem_documents":
            return Reply(self.status, {"error": self.code}, headers=headers)
        return Reply(self.status, body, kind="application/problem+json", headers=headers)
