"""The tasks of the tiny service."""

import re
import time
import uuid
from fnmatch import fnmatchcase
from typing import Any

from tests.support.weak_service.accounts import API
from tests.support.weak_service.answers import Problem, Reply

FETCH = "app.tasks.common_tasks.fetch_url"
MAX_ARGUMENTS = 300_000
FIELDS = {"name", "task_type", "celery_task_name", "args", "kwargs", "tags", "metadata", "run_at"}
FIELDS |= {"unique_key", "on_conflict"}
ENUMS = {"status": {"pending", "running"}, "priority": {"low", "normal"}}


class Tasks:
    def __init__(self, weak: str) -> None:
        self.weak = weak
        self.tasks: dict[str, dict[str, Any]] = {}
        self.deeds: dict[str, str] = {}

    def answer(self, call: Any) -> Reply:
        path = call.path.removeprefix(API)
        if "\0" in call.path + str(call.query):
            raise Problem(400, "bad_request")
        if path in {"/tasks/", "/tasks/count"}:
            return self._collection(call, path)
        if path.startswith("/tasks/bulk/"):
            return self._bulk(call, path.removeprefix("/tasks/bulk/"))
        _, _, task_id, *rest = path.split("/")
        return self._one(call, task_id, "/".join(rest))

    # -- the collection ----------------------------------------------------------------------------------------------

    def _collection(self, call: Any, path: str) -> Reply:
        if call.method == "POST" and path == "/tasks/":
            return self._create(call)
        if call.method != "GET":
            raise Problem(405, "method_not_allowed")
        found = self._filtered(call)
        if path == "/tasks/count":
            return Reply(200, {"total": len(found)})
        if self.weak == "stored_oddities" and any("\ud800" in task["metadata"] for task in found):
            raise UnicodeError("surrogates not allowed")
        return Reply(200, found)

    def _filtered(self, call: Any) -> list[dict[str, Any]]:
        self._refuse_hostile(call)
        everyone = self.weak == "foreign_in_lists" and call.one("user_id") == "all"
        found = [task for task in self.tasks.values() if everyone or task["user_id"] == call.user["sub"]]
        if "name" in call.query:
            wanted = call.one("name")
            pattern = f"*{wanted.replace('%', '*').replace('_', '?')}*"
            loose = self.weak == "wildcards_in_names"
            found = [
                task for task in found if (fnmatchcase(task["name"], pattern) if loose else wanted in task["name"])
            ]
        return found

    def _refuse_hostile(self, call: Any) -> None:
        text = str(call.query)
        if self.weak == "sql_that_waits" and "pg_sleep" in text:
            time.sleep(3.1)
        if self.weak == "sql_in_filters" and "UNION" in text:
            raise RuntimeError("syntax error at or near UNION")
        bad = [name for name in ("cursor", "created_after") if name in call.query]
        bad += ["user_id"] if "user_id" in call.query and self.weak != "foreign_in_lists" else []
        bad += [name for name, values in ENUMS.items() if set(call.query.get(name, ())) - values]
        limit, skip = call.one("limit", "50"), call.one("skip", "0")
        if self.weak != "page_size" and not (limit.isdecimal() and 1 <= int(limit) <= 200):
            bad.append("limit")
        if not (skip.isdecimal() and int(skip) <= 10_000):
            bad.append("skip")
        if bad:
            raise Problem(422, "validation_error", text)

    def _create(self, call: Any) -> Reply:
        body = call.json()
        if self.weak == "nul_characters" and "\\x00" in repr(body):
            raise RuntimeError("text holds a NUL")
        allowed = FIELDS | ({"user_id", "status", "progress"} if self.weak == "foreign_owner" else set())
        known = body.get("celery_task_name") == "app.tasks.common_tasks.long_running_task"
        strange = set(body) - allowed or not isinstance(body.get("name"), str) or "\0" in repr(body)
        if body.get("celery_task_name") == FETCH:
            self._check_fetch(**body["kwargs"])
            known = True
        if strange or not (known or self.weak == "only_catalogue_tasks"):
            raise Problem(422, "validation_error", repr(body))
        defaults = {
            "id": str(uuid.uuid4()),
            "user_id": call.user["sub"],
            "status": "pending",
            "version": 1,
            "metadata": {},
        }
        if len(repr(body.get("kwargs"))) > MAX_ARGUMENTS and self.weak != "large_arguments":
            raise Problem(422, "validation_error")
        holder = self._holder(call, body)
        if holder is not None:
            if body.get("on_conflict", "reject") == "reject":
                raise Problem(409, "unique_key_taken")
            return Reply(200, holder)
        task = {**defaults, **body}
        if "kwargs" in task and self.weak != "secrets_in_answers":
            task["kwargs"] = dict.fromkeys(task["kwargs"], "***")
        self.tasks[task["id"]] = task
        return Reply(201, task)

    def _holder(self, call: Any, body: dict[str, Any]) -> dict[str, Any] | None:
        """The task that has the key of the body."""
        everyones = self.weak == "foreign_unique_key"
        same = (
            task
            for task in self.tasks.values()
            if task.get("unique_key") == body.get("unique_key", "")
            and (everyones or task["user_id"] == call.user["sub"])
        )
        return next(same, None)

    def _check_fetch(self, url: str, headers: dict[str, str] | None = None) -> None:
        """As good as the checks need it: nothing is fetched here."""
        for weak, refused in (
            ("smuggled_headers", headers is not None),
            ("other_schemes", re.fullmatch(r"http://[^@\s]*", url) is None),
            ("internal_urls", headers is None and re.match(r"http://[^@\s]*$", url) is not None),
        ):
            if refused and self.weak != weak:
                raise Problem(422, "url_refused")

    # -- bulk operations ---------------------------------------------------------------------------------------------

    def _bulk(self, call: Any, path: str) -> Reply:
        if path not in {"cancel", "retry", "delete"}:
            if self.deeds.get(path.removesuffix("/abort")) != call.user["sub"]:
                raise Problem(404, "bulk_deed_not_found")
            return Reply(200, {"id": path})
        body = call.json()
        if "filter" in body:
            raise Problem(403, "admin_only")
        everyones = self.weak == "foreign_in_bulk"
        found = [self.tasks[each] for each in body["ids"] if each in self.tasks]
        own = [task for task in found if everyones or task["user_id"] == call.user["sub"]]
        if body.get("dry_run"):
            return Reply(200, {"matched": len(own), "sample": own, "token": "x"})
        deed_id = str(uuid.uuid4())
        self.deeds[deed_id] = call.user["sub"]
        return Reply(202, {"id": deed_id, "matched": len(own)})

    # -- one task ----------------------------------------------------------------------------------------------------

    def _one(self, call: Any, task_id: str, rest: str) -> Reply:
        task = self._found(call, task_id)
        if call.method == "DELETE":
            del self.tasks[task_id]
            return Reply(204, None)
        if call.method == "PATCH":
            body = call.json()
            if set(body) - {"name"} and self.weak != "own_status":
                raise Problem(422, "validation_error", repr(body))
            task.update(body)
        return Reply(200, [] if rest == "attempts" else task)

    def _found(self, call: Any, task_id: str) -> dict[str, Any]:
        if not re.fullmatch(r"[0-9a-f-]{36}", task_id):
            if self.weak == "hostile_ids" and len(task_id) > 1000:
                raise RuntimeError("integer string conversion")
            if self.weak == "sql_in_ids" and "'" in task_id:
                raise RuntimeError("unterminated quoted string")
            raise Problem(404, "task_not_found")
        task = self.tasks.get(task_id)
        if task is None:
            raise Problem(404, "task_not_found")
        if task["user_id"] != call.user["sub"] and self.weak != "foreign_task":
            if self.weak == "foreign_unchanged":
                task["version"] += 1
            raise Problem(404, "not_yours" if self.weak == "foreign_looks_unknown" else "task_not_found")
        return task
