"""The bare Celery application, and which queue and message priority a task's priority means.

What everything that sends a message needs, and nothing of a worker: whatever only a worker or beat loads is named by a
dotted path. The configuration is read when Celery first asks for it, so importing this reads no settings. Nothing that
matters rests on a message, hence early acks without prefetch: no duplicates from a visibility timeout however long a
task runs, and no task waits behind another in a worker's memory (docs/adr/0043).
"""

from collections.abc import Mapping
from typing import Any

import click
from celery import Celery, signals
from kombu.entity import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from app.core.config import ConfigurationError, Settings, get_settings
from app.messaging.guard.messages import sign_task
from app.models.task import TaskPriority

HIGH_QUEUE = "high_priority"
DEFAULT_QUEUE = "default"
LOW_QUEUE = "low_priority"

# The order in which a worker without `-Q` serves them.
QUEUES = (HIGH_QUEUE, DEFAULT_QUEUE, LOW_QUEUE)

QUEUE_OF = {
    TaskPriority.CRITICAL: HIGH_QUEUE,
    TaskPriority.HIGH: HIGH_QUEUE,
    TaskPriority.NORMAL: DEFAULT_QUEUE,
    TaskPriority.LOW: LOW_QUEUE,
}

# kombu on Redis: 0 is the highest, and what a message without a priority gets.
MESSAGE_PRIORITY = {TaskPriority.CRITICAL: 0, TaskPriority.HIGH: 3, TaskPriority.NORMAL: 6, TaskPriority.LOW: 9}
PRIORITY_STEPS = sorted(MESSAGE_PRIORITY.values())


# -- The application and its configuration, and what each process does before it publishes -----------------------------


def install() -> None:
    """Have this process read Redis defensively and sign what it publishes; the second call changes nothing.

    All that it publishes: submits, maintenance, beat, retries, callbacks and chains.
    """
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "app.messaging.guard.transport:Transport"
    signals.before_task_publish.connect(_sign, weak=False, dispatch_uid="task_service.signing")


def _sign(headers: dict[str, Any], body: Any, properties: Mapping[str, Any], **_: Any) -> None:
    settings = get_settings()  # at each message: those of a test may have changed since the signal was connected
    if settings.sign_messages:
        sign_task(headers, body, properties, settings.message_keys[0])


def _configuration() -> dict[str, Any]:
    """Celery calls this once, when it first needs a value. Raises ConfigurationError."""
    install()
    return configuration(_settings())


def _settings() -> Settings:
    try:
        return get_settings()
    except ConfigurationError as error:
        if click.get_current_context(silent=True) is None:
            raise
        raise SystemExit(str(error)) from None  # a command line of Celery's: the lines alone, without a traceback


def configuration(settings: Settings) -> dict[str, Any]:
    """Return Celery's configuration."""
    broker_url = settings.celery_broker_url.get_secret_value() if settings.celery_broker_url else None
    return {
        "broker_url": broker_url,
        # Celery prefers the variable CELERY_BROKER_URL to `broker_url`: without these two a `rediss://` in it would be
        # taken as it stands there, and no certificate be verified.
        "broker_read_url": broker_url,
        "broker_write_url": broker_url,
        "result_backend": settings.celery_result_backend.get_secret_value() if settings.celery_result_backend else None,
        "include": ["app.tasks", *settings.task_modules],
        # JSON only: a pickled message runs code. What it holds is checked before Celery sees it (docs/adr/0020).
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "worker_consumer": "app.worker.parent.consumer:Consumer",
        "worker_enable_remote_control": settings.remote_control != "off",
        "enable_utc": True,
        "timezone": "UTC",
        # Queues and priorities: the order here is the order of service.
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": DEFAULT_QUEUE,
        "task_default_priority": MESSAGE_PRIORITY[TaskPriority.NORMAL],
        "broker_transport_options": {
            "priority_steps": PRIORITY_STEPS,
            "queue_order_strategy": "priority",
            "service_queues": QUEUES,
            # On a connection that has died silently, the worker's event loop would wait without end when it publishes
            # its heartbeat; neither kombu's health checks nor the restart of the consumer would run.
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "health_check_interval": 10,
        },
        # Dispatch: a hint, acknowledged at once, one for each free child.
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "task_publish_retry": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A queue's key of another type, a command that an ACL forbids: the worker waits until that is put right.
        "broker_channel_error_retry": True,
        # Early acks: a running task does not depend on the connection that brought it.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": True,
        # Periodic work. Beat may run any number of times: each period fires once.
        "beat_scheduler": "app.beat.scheduler:OncePerPeriod",
    }


celery_app = Celery(
    "task_service",
    task_cls="app.messaging.task_base:SQLAlchemyTask",
    amqp="app.messaging.hidden_values:RedactedAMQP",
    control="app.messaging.guard.commands:Control",
    loader="app.messaging.loader:Loader",
)
celery_app.add_defaults(_configuration)
celery_app.steps["worker"].add("app.worker.bootsteps:ServiceStep")
