"""Which keys of the broker are the service's, and what each of them holds."""

from app.messaging.application import QUEUES
from app.messaging.guard.redis_client import ASIDE, keys_of, type_of_key
from tests.support.tables import check_rows

TYPES = {
    "default": "list", "default\x06\x169": "list", "high_priority\x06\x163": "list", "theirs": None,
    "theirs\x06\x163": None, "worker@host.celery.pidbox": "list", "x.reply.celery.pidbox": "list",
    "unacked": "hash", "unacked_index": "zset", "unacked_other": None,
    "_kombu.binding.default": "set", "_kombu.binding_permanent.x": "set", "_kombu.binding_deadlines": "zset",
    "task_service:live:0": "string", f"{ASIDE}default": None, "customers": None,
}  # fmt: skip
COMMANDS: dict[tuple[object, ...], list[str]] = {
    ("LPUSH", "a", b"item"): ["a"], ("BRPOP", "a", b"b"): ["a", "b"], ("GET", b"a"): ["a"],
    ("EVALSHA", "sha", 2, "a", "b", "argument"): ["a", "b"], ("HSET", "a", "field", "value"): ["a"], ("PING",): [],
}  # fmt: skip


def test_the_name_of_a_key_tells_its_type() -> None:
    check_rows(lambda key, kind: type_of_key(key, QUEUES) == kind, TYPES.items())


def test_a_queue_that_a_worker_reads_is_the_services() -> None:
    assert (type_of_key("theirs", {"theirs"}), type_of_key("theirs\x06\x163", {"theirs"})) == ("list", "list")


def test_the_keys_of_a_command() -> None:
    check_rows(lambda command, keys: keys_of(command) == keys, COMMANDS.items())
