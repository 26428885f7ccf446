"""The Celery application: `celery -A app.celery_app worker` and `celery -A app.celery_app beat`.

Nothing that matters rests on a message, hence early acks without prefetch on Redis: no duplicates from a visibility
timeout however long a task runs, and no task waits behind another in a worker's memory (docs/adr/0002).
"""

from datetime import timedelta

from celery import Celery
from kombu.entity import Exchange, Queue

from app.core.config import get_settings
from app.messaging.guard import signing, transport
from app.messaging.routing import DEFAULT_QUEUE, MESSAGE_PRIORITY, PRIORITY_STEPS, QUEUES
from app.models.task import TaskPriority

_settings = get_settings()

transport.install()
celery_app = Celery(
    "task_service",
    task_cls="app.tasks.base:SQLAlchemyTask",
    amqp="app.messaging.reprs:RedactedAMQP",
    control="app.messaging.guard.commands:Control",
)
celery_app.conf.update(
    broker_url=_settings.celery_broker_url.get_secret_value() if _settings.celery_broker_url else None,
    result_backend=(_settings.celery_result_backend.get_secret_value() if _settings.celery_result_backend else None),
    include=["app.tasks", *_settings.task_modules],
    # JSON only: a pickled message runs code. What it holds is checked before Celery sees it (docs/adr/0020).
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_consumer="app.worker.parent.consumer:Consumer",
    worker_enable_remote_control=_settings.remote_control != "off",
    enable_utc=True,
    timezone="UTC",
    # Queues and priorities: the order here is the order of service.
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    task_default_queue=DEFAULT_QUEUE,
    task_default_priority=MESSAGE_PRIORITY[TaskPriority.NORMAL],
    broker_transport_options={
        "priority_steps": PRIORITY_STEPS,
        "queue_order_strategy": "priority",
        # On a connection that is dead without a word the worker's event loop would wait for ever, in a publish of
        # Celery's own heartbeat: neither kombu's health checks nor our restart of the consumer would get their turn.
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
    },
    # Dispatch: a hint, acknowledged at once, one for each free child.
    task_acks_late=False,
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    task_publish_retry=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A queue's key that holds something else, a command that an ACL forbids: the worker waits until that is put right.
    broker_channel_error_retry=True,
    # Early acks: a running task does not depend on the connection that brought it.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=True,
    # Periodic work. Beat may run any number of times: each period fires once.
    beat_scheduler="app.beat.scheduler:OncePerPeriod",
    beat_schedule={
        "purge-finished-tasks": {
            "task": "app.tasks.common_tasks.purge_finished_tasks",
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600},
        },
        "purge-expired-logins": {
            "task": "app.tasks.common_tasks.purge_expired_logins",
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600},
        },
    },
)

# Below the application, since the tasks import it: the base of every task, and what a worker and beat run beside them.
from app.tasks.base import SQLAlchemyTask  # noqa: E402 (see above)
from app.worker.parent import bootsteps  # noqa: E402 (see above)
from app.worker.shared import logs  # noqa: E402 (see above)

bootsteps.install(celery_app)
logs.install()
signing.install()


__all__ = ["SQLAlchemyTask", "celery_app"]
