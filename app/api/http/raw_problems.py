"""Problems as the bytes of an HTTP/1.1 response, for what is refused before the application runs."""

from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.http.middleware import SECURITY_HEADERS
from app.api.http.problems import http_problem


def raw_problem(status: int, detail: str) -> bytes:
    """Return the response, which closes the connection. Its path is empty, because the target is not parsed yet."""
    identifier = uuid4().hex
    more = {"Connection": "close", "X-Request-ID": identifier, **SECURITY_HEADERS}
    answer = http_problem({"path": "", "state": {"request_id": identifier}}, status, detail, more)
    head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
    return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
