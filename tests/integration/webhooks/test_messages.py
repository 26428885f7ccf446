"""What is sent: the body, its signatures, and the same of both at each attempt."""

from uuid import UUID

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook

from app.errors import WebhooksOff
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.outbound import Client
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.webhooks.sender import Sender
from app.services.webhooks.service import webhook_service
from tests.support.settings import settings
from tests.support.tasks import ERROR, finish, new_task
from tests.support.webhooks import LOOPBACK, bodies, delivery, due_again, ended, endpoint, send
from tests.unit.outbound.web_server import Web, reply

pytestmark = pytest.mark.usefixtures("allowed")


class TestWhatIsSent:
    def test_the_task_as_get_shows_it_signed_so_that_the_library_takes_it(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url())
        task = ended(db, user, kwargs={"password": "hunter2hunter2"}, tags=["a"])
        send(db)
        [seen] = web.seen
        body = Webhook(made.secret).verify(seen.body, seen.headers)
        found = delivery(db)
        assert seen.headers["webhook-id"] == str(found.event_id)
        assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")
        data = body["data"]
        assert (data["id"], data["status"], data["result"]) == (str(task.id), "succeeded", {"rows": 3})
        assert (data["tags"], data["kwargs"]["password"]) == (["a"], "***")
        assert body["timestamp"] == data["finished_at"]
        assert (found.state, found.next_attempt_at) == ("delivered", None)
        [attempt] = found.attempts
        assert (attempt["status_code"], attempt["error"], attempt["answer"]) == (204, None, "")

    @pytest.mark.parametrize("meanwhile", ["retried", "deleted"])
    def test_the_end_alone_of_a_task_that_was_retried_or_deleted(
        self, db: Session, user: UUID, web: Web, meanwhile: str
    ) -> None:
        endpoint(db, user, web.url())
        task = ended(db, user, ends.failed(ERROR))
        if meanwhile == "retried":
            task_service.retry_task(db, task.id)
            finish(db, task, ends.failed(ERROR))
            db.execute(delete(WebhookDelivery).where(WebhookDelivery.generation > 1))
        else:
            task_service.delete(db, task.id)
        send(db)
        [body] = bodies(web)
        assert (body["type"], body["data"]) == ("task.failed", {"id": str(task.id), "status": "failed"})

    def test_id_and_status_of_a_task_that_is_too_large(self, db: Session, user: UUID, web: Web) -> None:
        endpoint(db, user, web.url())
        task = ended(db, user, ends.succeeded("x" * 270_000))
        send(db)
        [body] = bodies(web)
        assert body["data"] == {"id": str(task.id), "status": "succeeded"}

    def test_the_same_bytes_and_id_at_each_attempt_and_at_a_redelivery(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(500)
        made = endpoint(db, user, web.url())
        task = ended(db, user)
        send(db)
        task_service.update_task(db, task.id, {"name": "another"})
        web.answer["/"] = reply(200)
        due_again(db)
        send(db)
        webhook_service.redeliver(db, user, made.row.id, delivery(db).id)
        send(db)
        assert len(web.seen) == 3
        assert len({seen.body for seen in web.seen}) == 1
        assert len({seen.headers["webhook-id"] for seen in web.seen}) == 1
        assert [each["status_code"] for each in delivery(db).attempts] == [500, 200, 200]

    def test_both_secrets_sign_after_a_rotation_until_the_old_ones_time_is_over(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url())
        rotated = webhook_service.rotate_secret(db, user, made.row.id)
        ended(db, user)
        send(db)
        for secret in (made.secret, rotated.secret):
            Webhook(secret).verify(web.seen[0].body, web.seen[0].headers)
        newest = webhook_service.rotate_secret(db, user, made.row.id, 0)
        ended(db, user)
        send(db)
        Webhook(newest.secret).verify(web.seen[1].body, web.seen[1].headers)
        assert len(web.seen[1].headers["webhook-signature"].split()) == 1

    def test_the_url_of_a_task_once_with_the_users_key(self, db: Session, user: UUID, web: Web) -> None:
        task = ended(db, user, webhook_url=web.url())
        ended(db, user)
        assert task.webhook_url == web.url()
        send(db)
        [seen] = web.seen
        body = Webhook(webhook_service.secret_of_user(user)).verify(seen.body, seen.headers)
        assert body["data"]["id"] == str(task.id)
        [found] = webhook_service.list_deliveries_of_task(db, task.id, owner=user).items
        assert (found.endpoint_id, found.state) == (None, "delivered")

    def test_no_url_of_a_task_where_nothing_would_sign_it(self, db: Session, user: UUID) -> None:
        with settings({"WEBHOOK_SECRET": ""}), pytest.raises(WebhooksOff):
            new_task(db, user, webhook_url="https://example.com/")

    def test_a_secret_that_cannot_be_decrypted_is_a_failure_that_says_so(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        endpoint(db, user, web.url())
        ended(db, user)
        send(db, Sender(Client(LOOPBACK), ["another key of the service, long enough"]))
        assert web.seen == []
        assert "cannot be decrypted" in delivery(db).attempts[0]["error"]

    def test_an_old_secret_that_cannot_be_decrypted_signs_no_more_and_the_new_one_does(
        self, db: Session, user: UUID, web: Web, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = endpoint(db, user, web.url()).row
        rotated = webhook_service.rotate_secret(db, user, made.id)
        db.execute(update(WebhookEndpoint).values(old_secret=b"\x01nothing that a key has encrypted"))
        ended(db, user)
        send(db)
        assert len(web.seen[0].headers["webhook-signature"].split()) == 1
        Webhook(rotated.secret).verify(web.seen[0].body, web.seen[0].headers)
        assert f"the old secret of endpoint {made.id} cannot be decrypted" in caplog.text

    def test_a_rotation_keeps_no_secret_that_cannot_be_decrypted(self, db: Session, user: UUID) -> None:
        made = endpoint(db, user).row
        db.execute(update(WebhookEndpoint).values(secret=b"\x01nothing that a key has encrypted"))
        rotated = webhook_service.rotate_secret(db, user, made.id)
        row = webhook_service.get_endpoint(db, user, made.id)
        assert row.old_secret is None
        assert rotated.old_secret_until <= row.updated_at
