"""What no other site can make a reader do, and what is recorded of it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from app.services import audit
from tests.support.audit import recorded
from tests.support.page_reader import HTTPS, PATHS, SAME, Reader


class TestOtherSites:
    def test_a_form_of_another_site_changes_nothing(self, reader: Reader) -> None:
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
            {"Origin": HTTPS, "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
        ):
            for path in ("/new", f"/tasks/{uuid4()}/cancel", "/sign-out", "/sign-in", "/choices/theme"):
                answer = reader.post(path, headers, name="x", celery_task_name="x", value="dark")
                assert answer.status_code == 403, (path, headers)
        assert reader.get("/tasks").status_code == 200  # still signed in

    def test_a_form_of_the_pages_works(self, reader: Reader) -> None:
        for headers in ({"Origin": HTTPS}, SAME, {"Origin": HTTPS, **SAME}):
            assert reader.post("/choices/theme", headers, value="dark").status_code == 303

    def test_no_page_can_be_framed_or_kept_or_load_from_elsewhere(self, reader: Reader) -> None:
        for path in (*PATHS, "/sign-in", f"/tasks/{uuid4()}"):
            headers = reader.get(path).headers
            policy = headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-frame-options"] == "DENY"


class TestARefusal:
    def test_names_who_is_signed_in(self, reader: Reader, account: dict[str, Any]) -> None:
        assert reader.post("/new", {"Origin": "https://evil.example"}).status_code == 403
        (record,) = recorded("access.denied", actor_id=UUID(account["id"]))
        assert record.detail["code"] == "cross_origin"

    def test_of_what_another_site_sends_costs_the_one_who_is_signed_in_nothing(
        self, reader: Reader, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It counts for the address: their own changes are not refused for it."""
        monkeypatch.setattr(audit, "DEEDS_PER_MINUTE", 5)
        forged = [reader.post("/new", {"Origin": "https://evil.example"}).status_code for _ in range(8)]
        assert forged == [403] * 5 + [429] * 3
        assert len(recorded("access.denied", actor_id=UUID(account["id"]))) == 5
        assert recorded("deeds.throttled", actor_id=UUID(account["id"])) == []
        assert reader.get("/users").status_code == 403

    def test_of_nobody_is_not_recorded(self, client: TestClient) -> None:
        before = len(recorded("access.denied"))
        assert Reader(client).post("/sign-out", {}).status_code == 403
        assert len(recorded("access.denied")) == before
