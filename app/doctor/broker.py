"""The broker: whether it answers, its version, its settings that lose messages, its clock.

No task with a record is lost with a message: its row is woken for again. What is lost are plain `.delay()` calls.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from app.core.config import Settings
from app.core.moments import EPOCH
from app.core.redacted_text import redact_text
from app.doctor import findings
from app.doctor.findings import Finding, fail, ok, told, warn
from app.errors import Text
from app.services.health_service import open_broker, redis_client

CONNECT_SECONDS = 2.0
OLDEST_REDIS = 7
# Of `maxmemory`: above it, a broker that evicts nothing soon refuses messages.
FULL = 0.9


def check_reachable(settings: Settings) -> Iterator[Finding]:
    """Connect, with one round trip."""
    url = _url(settings)
    if not url:  # kombu would look for RabbitMQ on this machine
        yield fail(
            Text("{} is not set", "CELERY_BROKER_URL"),
            Text("set it in .env or in the environment, or start everything with `python3 run_server.py`"),
        )
        return
    shown = redact_text(url)
    try:
        with open_broker(url, CONNECT_SECONDS):
            yield ok(Text("{} answers", shown))
    except Exception as error:  # noqa: BLE001 (each transport has its own errors)
        yield fail(
            Text("{} does not answer: {}", shown, told(error)),
            Text("start Redis or Valkey, or correct CELERY_BROKER_URL; tasks are accepted meanwhile, and none starts"),
        )


def check_version(settings: Settings) -> Iterator[Finding]:
    """Read the version of the server."""
    with open_broker(_url(settings), CONNECT_SECONDS) as connection:
        client = redis_client(connection)
        if client is None:
            yield warn(
                Text("{}, which is not part of the tests", connection.transport.driver_name),
                Text("docs/servers.md says what differs from Redis"),
            )
            return
        info = _info(client)
    yield from _no_info() if info is None else broker_versions(info)


def check_durability(settings: Settings) -> Iterator[Finding]:
    """Read the settings by which Redis or Valkey loses or refuses messages."""
    with open_broker(_url(settings), CONNECT_SECONDS) as connection:
        client = redis_client(connection)
        if client is None:
            yield ok(Text("not compared: these settings are of Redis"))
            return
        info = _info(client)
    yield from _no_info() if info is None else broker_losses(info)


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Compare its clock with this machine's."""
    with open_broker(_url(settings), CONNECT_SECONDS) as connection:
        client = redis_client(connection)
        if client is None:
            yield ok(Text("not compared: this broker tells no time"))
            return

        def ask() -> datetime:
            seconds, microseconds = client.time()
            return EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))

        yield from findings.compare_clocks(ask)


def broker_versions(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the product and the version that INFO names."""
    is_valkey = "valkey_version" in info
    name, version = ("Valkey", info["valkey_version"]) if is_valkey else ("Redis", info.get("redis_version", "?"))
    major = str(version).partition(".")[0]
    if is_valkey or not major.isdigit() or int(major) >= OLDEST_REDIS:
        yield ok(Text("{} {}", name, version))
    else:
        yield warn(Text("{} {}", name, version), Text("use Redis {} or later, or Valkey", OLDEST_REDIS))


def broker_losses(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what INFO tells of settings and states in which messages are lost or refused."""
    found = [*_refusals(info), *_evictions(info)]
    if not info.get("aof_enabled"):
        found.append(
            warn(
                Text("no append-only file: a restart loses messages of plain .delay() calls"),
                Text("set `appendonly yes` in the server's configuration"),
            )
        )
    yield from found or [ok(Text("maxmemory-policy is {}, with an append-only file", info.get("maxmemory_policy")))]


def _refusals(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield fail(Text("it is a replica, which takes no writes"), Text("name the primary in CELERY_BROKER_URL"))
    if info.get("loading"):
        yield warn(Text("it is loading its data, and refuses commands"), Text("wait until it has read them"))
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        yield fail(
            Text("its last write to disk has failed: it may refuse messages"), Text("look at its log and its disk")
        )


def _evictions(info: Mapping[str, Any]) -> Iterator[Finding]:
    limit, policy = int(info.get("maxmemory") or 0), str(info.get("maxmemory_policy", ""))
    remedy = Text("set `maxmemory-policy noeviction`, so that a full server refuses messages and drops none")
    if not limit:
        return  # nothing is evicted without a limit
    if policy.startswith("allkeys"):
        yield fail(Text("maxmemory-policy {} deletes queues once memory is full", policy), remedy)
    elif policy.startswith("volatile"):
        yield warn(Text("maxmemory-policy {} deletes keys of the service once memory is full", policy), remedy)
    if int(info.get("used_memory") or 0) > FULL * limit:
        yield warn(Text("more than {} % of maxmemory is in use", round(FULL * 100)), Text("raise maxmemory"))


def _no_info() -> Iterator[Finding]:
    yield warn(
        Text("unknown: the user of CELERY_BROKER_URL may not run INFO"),
        Text("ask its administrator for `maxmemory-policy noeviction` and `appendonly yes`"),
    )


def _info(client: Any) -> Mapping[str, Any] | None:
    """Return what INFO tells; None where an ACL forbids the command."""
    from redis.exceptions import NoPermissionError, ResponseError

    try:
        info: Mapping[str, Any] = client.info()
    except (NoPermissionError, ResponseError):
        return None
    return info


def _url(settings: Settings) -> str:
    url = settings.celery_broker_url
    return "" if url is None else url.get_secret_value()
