"""Each check of `security_test.py` fails on a service that is weak in just that.

On one that behaves all of them pass: the suite `security` and tests/integration/test_scripts.py run them on real servers.
"""

import io
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

import security_test
from app.launcher.ports import free_loopback_port
from tests.security import bodies, injection, memory, objects, resources, tokens
from tests.security.objects import EXPORT
from tests.security.registry import CHECKS, GROUPS, Check, run_one
from tests.security.target import Account, Target
from tests.support.leftovers import API, Leftovers
from tests.support.loopback import Address

# What is answered to a request: always the same, one after the other (the last one again and again), or as it is called.
Answer = httpx.Response | list[httpx.Response] | Callable[[httpx.Request], httpx.Response]
PROBLEM, HTML = ({"Content-Type": kind} for kind in ("application/problem+json", "text/html"))
KEYS = "/auth/api-keys"
SIGN_IN = {"GET //ui/sign-in": httpx.Response(200), "POST //ui/sign-in": httpx.Response(303)}
COOKIE = "__Host-s=1; Path=/; Secure; HttpOnly; SameSite=Lax"


def says(status: int, body: Any = None, **headers: str) -> httpx.Response:
    """Header names with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={} if body is None else body, headers=named)


def echoes(status: int, request: httpx.Request, **headers: str) -> httpx.Response:
    return httpx.Response(status, text=unquote(f"{request.url}{request.content.decode()}"), headers=headers)


def account(name: str) -> Account:
    token = tokens.signed({"alg": "HS256"}, {"sub": name}, f"the key for {name}")
    return Account(name, name, f"{name}@example.com", f"the password of {name}", token, f"refresh-{name}")


ALICE, MALLORY = account("alice"), account("mallory")
TASK = {"id": "t1", "name": "a task", "status": "pending", "version": 1, "user_id": "alice", "task_type": "x"}
OWN = {**TASK, "id": "t2", "user_id": "mallory"}
TOYS = {
    "paths": {
        f"{API}/toys/": {"post": {"responses": {"201": {}}}},
        f"{API}/toys/{{toy_id}}": {"get": {"responses": {"200": {}}}},
    }
}
# One operation that changes something, and what it takes.
CHANGE = {
    "paths": {
        f"{API}/toys/{{name}}": {
            "put": {
                "security": [{"Login": []}],
                "requestBody": {"content": {"application/json": {"schema": {"properties": {"n": {}}}}}},
            }
        }
    }
}
DESCRIBED: dict[str, Answer] = {"GET //openapi.json": says(200, CHANGE)}
FETCHES: dict[str, Answer] = {"POST /tasks/t2/cancel": says(200), "PATCH /tasks/t2": says(422)}
EXPORTED: dict[str, Answer] = {
    "GET /tasks/types": says(200, [{"celery_task_name": EXPORT}]),
    "GET /tasks/t2": says(200, {"status": "succeeded"}),
    "GET /tasks/t2/artifacts": says(200, [{"id": "f1"}]),
    "DELETE /tasks/t2": says(204),
    "GET /files/f1": says(200),
}
UPLOADED: dict[str, Answer] = {
    "POST /files/": says(201, {"id": "f1"}),
    "DELETE /files/f1": says(204),
    "GET /tasks/": says(200, []),
}
UPLOADS: dict[str, Answer] = {**UPLOADED, "POST /tasks/t2/cancel": says(202)}
TYPES = says(
    200, [{"celery_task_name": name} for name in (f"{memory.TASKS}.transform_data", f"{memory.MODELS}.train_model")]
)
UNUSABLE = says(200, {**OWN, "status": "failed", "error": {"type": "x.UnusableData"}, "attempt": 1})
CRASHED = says(200, {**OWN, "status": "failed", "error": {"type": "WorkerLostError"}, "attempt": 3})
TRAINED = says(200, {**OWN, "status": "succeeded", "result": {"model": "m1"}, "error": None})
RUN = says(200, {**OWN, "status": "succeeded"})
QUEUED, NO_WORKER = (
    says(200, {**OWN, "status": "pending", "waiting_for": {"reason": reason}}) for reason in ("turn", "no_worker")
)
READING = says(200, {**OWN, "status": "running", "progress_detail": {"stage": "reading"}})
REVOKED = says(200, {**OWN, "status": "revoked"})
LOGIN = {"access_token": "new", "refresh_token": "r"}


# What a service answers that behaves, as far as a check has to get to its point.
BEHAVES: dict[str, Answer] = {
    "POST /tasks/": says(201, OWN),
    "POST /auth/login": says(200, LOGIN),
    f"POST {KEYS}": says(201, {"id": "k1", "key": "tsk_abcdef"}),
    "GET /auth/sessions": says(200, [{"id": "s1", "current": True}]),
    "GET /users/me": says(200, {"id": "mallory", "email": MALLORY.email, "role": "user"}),
    "POST /users/me/totp": says(201, {"secret": "A" * 32}),
    "POST /users/me/totp/confirm": says(200, {"recovery_codes": ["one"]}),
    "POST /auth/register": says(201, {"id": "u1", "username": "otto", "email": "o@example.com"}),
}


class Service:
    """Answers as a row says, else as one that behaves."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.asked: Counter[str] = Counter()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        path = request.url.path
        what = f"{request.method} {path.removeprefix(API) if path.startswith(API) else f'/{path}'}"
        answer = self.row.get(what, self.row.get("*", BEHAVES.get(what, says(404))))
        self.asked[what] += 1
        if isinstance(answer, list):
            answer = answer[min(self.asked[what], len(answer)) - 1]
        if callable(answer):
            return answer(request)
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)

    def target(self) -> Target:
        http = httpx.Client(transport=httpx.MockTransport(self), base_url="http://127.0.0.1:1")
        made = Target(Address("127.0.0.1", 1), http, ALICE, MALLORY, Leftovers(http, admin_token="chief"), TASK)
        made.raw = lambda _: self.row["raw"]
        return made


def everything(status: int, body: Any = None, **headers: str) -> dict[str, Answer]:
    return {"*": says(status, body, **headers)}


def signed_in(*cookies: str) -> dict[str, Answer]:
    answers = [says(303, Set_Cookie=each, Location="/ui/") for each in cookies or [COOKIE]]
    return {**SIGN_IN, "POST //ui/sign-in": answers}


def model_file() -> httpx.Response:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as model:
        model.writestr("model.json", "{}")
        model.writestr("schema.json", '{"protocol": 1}')
    return httpx.Response(200, content=content.getvalue())


# The check, what the service answers, and how the finding begins. A check with several points has a row for each.
WEAK: list[tuple[str, dict[str, Any], str]] = [
    # authentication
    ("no_token", everything(200), "GET /users/me without a token: 200"),
    ("no_token", everything(401), "GET /users/me: WWW-Authenticate is ''"),
    ("malformed_token", everything(200), "token 'x': 200"),
    ("malformed_token", everything(500), "token 'x': 500"),
    ("wrong_scheme", everything(200), "Authorization: eyJ"),
    ("repeated_authorization", everything(200), "two Authorization fields: 200"),
    ("algorithm_none", everything(200), "alg none: 200"),
    ("stripped_signature", everything(200), "an empty signature: 200"),
    ("swapped_payload", everything(200), "changed ['sub']: 200"),
    ("guessable_key", everything(200), "signed with 'secret': 200"),
    ("key_in_the_header", everything(200), "header with ['jwk']: 200"),
    ("deep_header", everything(500), "a token of "),
    ("refresh_as_access", everything(200), "a refresh token as bearer: 200"),
    ("access_as_refresh", everything(200), "an access token refreshed: 200"),
    ("token_in_the_query", everything(200), "?token=: 200"),
    ("same_answer_for_unknown_users", {"POST /auth/login": [says(401, {"code": "wrong"}), says(401, {"code": "unknown"})]},
     "the bodies differ in ['code']"),
    ("logout_ends_the_login", {"POST /auth/logout": says(204)}, "the access token after logout: 200"),
    ("logout_ends_the_login", {"POST /auth/logout": says(204), "GET /users/me": says(401), "POST /auth/refresh": says(200)},
     "the refresh token after logout: 200"),
    ("replayed_refresh_token", {"POST /auth/refresh": says(200, LOGIN)}, "the second use: 200"),
    ("replayed_refresh_token", {"POST /auth/refresh": [says(200, LOGIN), says(401)]}, "the family's new access token after"),
    ("short_password", everything(204), "a new password of 7 characters: 204"),
    ("common_password", everything(204), "'passwordp'… as a new password: 204"),
    ("password_change_needs_the_old_one", everything(204), "with a wrong current password: 204"),
    ("second_factor", {}, "the password alone: 200"),
    ("second_factor", {"POST /auth/login": [says(200, LOGIN), says(401), says(200, LOGIN)]},
     "the code that confirmed it: 200"),
    ("second_factor", {"POST /auth/login": [says(200, LOGIN), says(401), says(401), says(200, LOGIN)]},
     "the same recovery code again: 200"),
    # browser
    ("no_session_cookie", {"POST /auth/login": says(200, LOGIN, Set_Cookie="session=1")}, "it sets session=1"),
    ("token_in_a_cookie", everything(200), "GET /api/v1/users/me: 200"),
    ("form_posts", {}, "application/x-www-form-urlencoded: 201"),
    ("no_cross_origin_reads", everything(200, Access_Control_Allow_Origin="*"), "Origin https://evil.example: allowed *"),
    ("no_preflight", everything(204, Access_Control_Allow_Methods="POST"), "204 with ['access-control-allow-methods']"),
    ("no_framing", everything(200, Content_Security_Policy="default-src 'none'"), "GET /docs may be framed"),
    # changes
    ("every_operation_needs_a_login", {**DESCRIBED, "PUT /toys/none": says(200)}, "PUT /toys/none: 200"),
    ("hostile_json", {**DESCRIBED, "PUT /toys/none": says(500)}, "PUT /toys/none with deep: 500"),
    ("extreme_values", {**DESCRIBED, "PUT /toys/none": says(500)}, "PUT /toys/none with '1000"),
    ("forged_forms", {**signed_in(), "*": says(303)}, "POST /"),
    ("hostile_forms", {**signed_in(), "POST //ui/new": says(500)}, "POST /new with '9999"),
    # forwarding
    ("internal_urls", {}, 'fetching "http://127.0.0.1/": 201'),
    ("local_names", {}, 'fetching "http://localhost:8000/": 201'),
    ("local_names", {"POST /tasks/": [says(422), says(201, OWN)]}, "a webhook_url of localhost: 201"),
    ("other_schemes", {}, 'fetching "file:///etc/passwd": 201'),
    ("smuggled_headers", {}, 'fetching "http://8.8.8.8/": 201'),
    # functions
    ("user_administration", everything(200), "GET /users/: 200"),
    ("anonymous_administration", everything(200), "GET /users/: 200"),
    ("claimed_role", everything(200), "GET /users/ with claims: 200"),
    ("claimed_role", {"GET /users/me": says(200, {"id": "alice"})}, "GET /users/me with claims is another user"),
    ("method_override", {}, "X-HTTP-Method-Override was obeyed"),
    ("audit_is_for_administrators", {"GET /audit": [says(401), says(200)]}, "GET /audit: 200"),
    ("what_is_deleted_or_shown_in_clear_is_in_the_audit", {**UPLOADED, "GET /audit": says(200, [])},
     "the deletion of a file leaves no record"),
    ("what_is_deleted_or_shown_in_clear_is_in_the_audit",
     {**UPLOADED, "GET /users/me/webhook-secret": says(200),
      "GET /audit": says(200, [{"event": "file.deleted", "object_id": "f1"}])},
     "reading a secret leaves no record"),
    ("queues_and_workers_are_steered_by_administrators", {"*": [says(401), says(200)]}, "POST /queues/default/resume: 200"),
    # hygiene
    ("problem_documents", everything(200), "GET /api/v1/users/me: 200"),
    ("problem_documents", everything(400), "GET /api/v1/users/me: 400 as 'application/json'"),
    ("problem_documents", everything(400, **PROBLEM), "GET /api/v1/users/me: 400 without ['type'"),
    ("no_tracebacks", everything(400, {"detail": "Traceback (most recent call last)"}), "GET /api/v1/users/me shows ['Traceback']"),
    ("no_echo", {"*": partial(echoes, 422)}, "POST /api/v1/auth/register repeats it"),
    ("security_headers", everything(200), "GET /healthz: no nosniff"),
    ("security_headers", everything(200, X_Content_Type_Options="nosniff"), "GET /healthz: policy ''"),
    ("docs_policy", everything(200, Content_Security_Policy="script-src 'self' 'unsafe-inline'"), 'policy "script-src'),
    ("docs_policy", everything(200, "https://elsewhere", Content_Security_Policy="script-src 'self'"), "the page names another"),
    ("no_store", {}, "/api/v1/auth/login: Cache-Control ''"),
    ("no_banner", everything(200, Server="weak/1.0"), "/healthz: {'Server': 'weak/1.0'}"),
    ("no_banner", everything(200, X_Powered_By="weak"), "/healthz: {'X-Powered-By': 'weak'}"),
    ("malformed_hosts", {"raw": b"HTTP/1.1 200 OK\r\n"}, "Host: evil.example/path is answered 'HTTP/1.1 200 OK'"),
    ("no_trace", {"raw": b"HTTP/1.1 200 OK\r\n"}, "TRACE: answered"),
    ("no_trace", {"raw": b"HTTP/1.1 405 No\r\nX-Probe: marker\r\n"}, "TRACE: answered"),
    ("no_debug_pages", everything(200), "GET /.env: 200"),
    ("garbage", {"raw": b"HTTP/1.1 500 No\r\n"}, "b'\\x16\\x03\\x01\\x02\\x00': 500"),
    ("garbage", {"raw": b"", "GET //healthz": says(503)}, "afterwards: 503"),
    # injection
    ("sql_in_filters", everything(500), "GET /tasks/?status=' OR '1'='1: 500"),
    ("sql_in_filters", everything(200, [TASK]), "GET /tasks/?status=' OR '1'='1 shows another user's task"),
    ("sql_that_waits", everything(200), "?name=: 4.0 s"),
    ("sql_in_ids", everything(500), "' OR '1'='1: 500"),
    ("sql_in_login", {}, "' OR '1'='1' --: 200"),
    ("wildcards_in_names", everything(200, [OWN]), "name=%: 200"),
    ("nul_characters", everything(500), "{'name': 'a\\x00b'}: 500"),
    ("line_breaks_in_a_mail", {}, "a line break in subject: 201"),
    ("line_breaks_in_a_mail", {"POST /tasks/": [says(422), says(201, OWN)]}, "a line break in reply_to: 201"),
    ("header_splitting", {"raw": b"HTTP/1.1 404 No\r\nX-Injected: yes\r\n\r\n"}, "injected by GET /api/v1/tasks/?limit=1"),
    ("stored_markup", {"GET /tasks/t2": says(200, **HTML)}, "GET /tasks/t2: Content-Type 'text/html'"),
    ("stored_markup", {"GET /tasks/t2": says(200)}, "GET /tasks/t2: no nosniff"),
    ("reflected_markup", {"*": partial(echoes, 404, **HTML)}, "GET //<script>alert(1)</script><im: the page holds"),
    ("reflected_markup", {"*": partial(echoes, 404)}, "GET //<script>alert(1)</script><im: repeated without nosniff"),
    ("path_traversal", {"raw": b"HTTP/1.1 200 OK\r\n\r\nroot:x:0:0"}, "GET /../../"),
    # objects
    ("foreign_task", everything(200), "GET …: 200"),
    ("foreign_looks_unknown", {"GET /tasks/t1": says(404, {"code": "not_yours"})}, "GET /tasks/{}: the bodies differ"),
    ("foreign_looks_unknown", {"GET /tasks/t1": says(403)}, "GET /tasks/{}: [403, 404]"),
    ("foreign_item", {"GET //openapi.json": says(200, TOYS), "POST /toys/": says(201, {"id": "t9"}), "GET /toys/t9": says(200)},
     "GET /toys/{}: [200, 404]"),
    ("foreign_in_bulk", {"POST /tasks/bulk/delete": says(200, {"matched": 1, "sample": [TASK]})}, "a dry run shows [(1, ["),
    ("foreign_in_bulk", {"POST /tasks/bulk/delete": says(200, {"matched": 0, "sample": []}), "*": says(200)},
     "{'user_id': 'alice'}: 200"),
    ("foreign_in_lists", everything(200, [TASK]), "listed with {}"),
    ("foreign_in_lists", {"GET /tasks/count": says(200, {"total": 5})}, "counted with {}: 5 where 0 are one's own"),
    ("foreign_unchanged", {"GET /tasks/t1": says(200, {**TASK, "version": 2})}, "changed: ['version']"),
    ("foreign_unique_key", {"POST /tasks/": [says(201, TASK), says(409)]}, "reject: 409"),
    ("foreign_unique_key", {"POST /tasks/": [says(201, TASK), says(201, OWN), says(200, TASK)]},
     "return: answered a task of alice"),
    ("foreign_unique_key",
     {"POST /tasks/": [says(201, TASK), says(201, OWN), says(200, OWN)], "GET /tasks/t1": says(200, {**TASK, "version": 2})},
     "their task has changed"),
    ("hostile_ids", everything(500), "'0': 500"),
    ("role_at_registration", {"POST /auth/register": says(201, {"id": "x", "role": "admin"})}, "201 with role admin"),
    ("own_role", {"GET /users/me": says(200, {"id": "mallory", "role": "admin"})}, "now admin with id mallory"),
    ("own_role", {"GET /users/me": says(200, {"id": "alice", "role": "user"})}, "now user with id alice"),
    ("foreign_owner", {"POST /tasks/": says(201, TASK)}, "granted: {'user_id': 'alice'}"),
    ("own_status", {"PATCH /tasks/t2": says(200)}, "PATCH {'status': 'succeeded'}: 200"),
    ("password_hash", {"GET /users/me": says(200, {"password_hash": ""})}, "GET /users/me tells of it"),
    ("secrets_in_answers", {"GET /tasks/": says(200, {"kwargs": "s3cret-mallory"})}, "shown by ['GET /api/v1/tasks/']"),
    ("only_catalogue_tasks", {}, "celery.chord_unlock: 201"),
    # keys
    ("key_scopes", {"GET /tasks/": says(200)}, "a key for reading creates: 201"),
    ("key_scopes", {"GET /tasks/": says(200), "POST /tasks/": says(403)}, "a key for writing lists: 200"),
    ("key_for_writing_finds_nothing", {"POST /tasks/bulk/cancel": says(200, {"sample": [OWN]})}, "the preview shows tasks"),
    ("write_key_has_nothing_read_for_it", UPLOADED,
     "a key that only writes: POST /tasks/ with app.tasks.common_tasks.export_tasks: 201"),
    ("write_key_has_nothing_read_for_it", {**UPLOADED, "*": says(403), f"POST {KEYS}": BEHAVES[f"POST {KEYS}"],
     "POST /schedules/": says(201, {"id": "s1"})}, "a key that only writes: POST /schedules/ with /schedules/: 201"),
    ("kept_secret_of_a_changed_task", {**FETCHES, "PATCH /tasks/t2": says(200)}, "PATCH with another url: 200"),
    ("kept_secret_of_a_changed_task", {**FETCHES, "POST /tasks/t2/retry": says(201, OWN)}, "a retry with another url: 201"),
    ("key_manages_nothing", {}, f"POST {KEYS} with a key: 201"),
    ("key_of_a_user_is_no_admins", {"GET /users/": says(200)}, "the key lists all users: 200"),
    ("key_of_a_user_is_no_admins", {"GET /users/": says(403)}, "a user makes a key with the scope admin: 201"),
    ("revoked_key", {f"DELETE {KEYS}/k1": says(204), "GET /tasks/": says(200)}, "a revoked key: 200"),
    ("mangled_key", {"GET /tasks/": says(200)}, "a key of 9 characters: 200"),
    ("key_is_shown_once", {f"GET {KEYS}": says(200, ["tsk_abcdef"])}, f"GET {KEYS} shows the key"),
    ("foreign_key_or_login", {f"GET {KEYS}/k1": says(200)}, f"GET {KEYS}/{{}}: [200, 404]"),
    ("foreign_key_or_login", {"GET /tasks/": says(401)}, "the key afterwards: 401"),
    # pages
    ("page_cookie", signed_in("s=1; Path=/"), "here: s with {"),
    ("page_cookie", signed_in("s=1; Path=/; HttpOnly; SameSite=Lax"), "{'X-Forwarded-Proto': 'https'}: s with {"),
    ("page_cookie", SIGN_IN, "the sign-in sets no cookie"),
    ("numbers_in_forms", {**signed_in(), "POST /tasks/t2/cancel": says(200), "POST //ui/tasks/t2/change": says(500)},
     "POST /tasks/t2/change with 99999… as kwargs.duration: 500"),
    ("planted_page_cookie", signed_in(), "the sign-in keeps it"),
    ("planted_page_cookie",
     {**signed_in(COOKIE, COOKIE.replace("1", "2")), "GET //ui/account": says(200, {"username": "alice"})},
     "it shows the user's account"),
    ("replaced_page_login", {**signed_in(COOKIE, COOKIE.replace("1", "2")), "GET //ui/tasks": says(200)},
     "a page of the first login: 200"),
    ("signed_out_page_cookie", {**signed_in(), "GET //ui/tasks": says(200), "POST //ui/sign-out": says(303)},
     "a page after the sign-out: 200"),
    ("foreign_page", {**signed_in(), "GET //ui/tasks/t1": says(200)}, "GET …: 200"),
    ("foreign_page", {**signed_in(), "POST //ui/tasks/t1/cancel": says(303)}, "POST …/cancel: 303"),
    ("pages_of_administrators", {**signed_in(), "GET //ui/users": says(200)}, "GET /ui/users: 200"),
    ("pages_of_administrators", {**signed_in(), "*": says(403), "POST //ui/queues/default/resume": says(303)},
     "POST /ui/queues/default/resume: 303"),
    ("markup_in_pages", {**signed_in(), "GET //ui/tasks/t2": httpx.Response(200, text=injection.MARKUP)},
     "/tasks/t2 holds ['<script>alert', '<img src=x']"),
    ("page_cookie_at_the_api", signed_in(), "the cookie: 200"),
    ("page_cookie_at_the_api", {**signed_in(), "GET /users/me": [says(401), says(200)]}, "its value as a token: 200"),
    ("page_changes_of_other_sites", {**signed_in(), "POST //ui/tasks/t2/cancel": says(303)},
     "POST /tasks/t2/cancel with {}: 303"),
    ("sign_in_leads_to_pages", {**SIGN_IN, "POST //ui/sign-in": says(303, Location="https://evil.example")},
     "next='//evil.example' leads to 'https://evil.example'"),
    ("page_policy", signed_in(), "/sign-in may be framed: ''"),
    ("page_policy", {**signed_in(), "GET //ui/sign-in": says(200, Content_Security_Policy="frame-ancestors 'none'")},
     "/sign-in may run scripts"),
    ("page_policy",
     {**signed_in(), "GET //ui/sign-in": says(200, Content_Security_Policy="frame-ancestors 'none'; default-src 'none'")},
     "/sign-in may be kept: ''"),
    # artifacts
    ("artifacts_of_deleted_tasks", EXPORTED, "its artifact: 200"),
    ("artifacts_of_deleted_tasks", {**EXPORTED, "GET /tasks/t2/artifacts": says(200, [])}, "an export without an artifact"),
    # tables
    ("cancelled_tables", {**UPLOADS, "GET /tasks/t2": QUEUED}, "no task is run after 60 s"),
    ("cancelled_tables", {**UPLOADS, "GET /tasks/t2": [RUN, READING]}, "2 of 2 cancelled tasks are not over after 30 s"),
    ("cancelled_tables", {**UPLOADS, "GET /tasks/t2": [RUN, READING, READING, REVOKED, REVOKED, READING]},
     "8 of 8 small tables are not read after 30 s"),
    # memory
    ("wide_tables_of_few_bytes", {**UPLOADED, "GET /tasks/types": TYPES, "GET /tasks/t2": [RUN, CRASHED]},
     "40 million cells: ('failed', 'WorkerLostError', 3)"),
    ("wide_tables_of_few_bytes", {**UPLOADED, "GET /tasks/types": TYPES, "GET /tasks/t2": [RUN, UNUSABLE, CRASHED]},
     "8,000 names: ('failed', 'WorkerLostError', 3)"),
    ("models_of_many_values", {**UPLOADED, "GET /tasks/types": TYPES, "GET /tasks/t2": [RUN, CRASHED]}, "a small model is not trained"),
    ("models_of_many_values",
     {**UPLOADED, "GET /tasks/types": TYPES, "GET /tasks/t2": [RUN, TRAINED, CRASHED], "GET /files/m1/content": model_file()},
     "14 MiB of {}: ('failed', 'WorkerLostError', 3)"),
    # resources
    ("page_size", everything(200), "limit=0: 200"),
    ("deep_bodies", everything(500), "depth 1000: 500"),
    ("large_bodies", {}, "12 MB: 201"),
    ("large_bodies_in_chunks", everything(500), "POST /api/v1/tasks/: 500"),
    ("large_registrations", everything(422), "POST /api/v1/auth/register: 422"),
    ("many_unknown_fields", everything(422, "x" * 20_000), "an answer of 20002 bytes"),
    ("large_bodies_without_a_token", everything(422), "token None: 422"),
    ("large_arguments", {}, "POST /api/v1/tasks/: 201"),
    ("long_content_types", everything(200), "GET //healthz with multipart/form-data"),
    ("long_ranges", {"POST /files/": says(201, {"id": "f1"})}, "127.000 s, and 1.000 s with another header"),
    ("large_requests_of_mcp", {"POST //mcp": says(200)}, "initialize: 200"),
    ("header_floods", {"raw": b"HTTP/1.1 200 OK\r\n"}, "many headers: 'HTTP/1.1 200 OK'"),
    ("odd_bodies", {}, "bad UTF-8: 201"),
    ("stored_oddities", {"GET /tasks/": says(500)}, "the list after metadata "),
    ("throttled_logins", {"POST /auth/login": says(401)}, "111 guesses and no 429"),
    ("throttled_logins", {"POST /auth/login": says(429)}, "429 without Retry-After"),
    ("throttled_logins", {"POST /auth/login": says(429, Retry_After="9"), "GET /users/me": says(429)},
     "an open session is locked out: 429"),
    ("guesses_and_the_users_password", everything(429), "the change of the password answers 429"),
    ("probed_addresses", {"PATCH /users/me": says(200)}, "121 changes and no 429"),
    ("probed_addresses", {"PATCH /users/me": says(429)}, "429 without Retry-After"),
]  # fmt: skip


def test_every_check_fails_on_a_service_that_is_weak_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = iter(range(0, 1000, 4))
    monkeypatch.setattr(injection, "time", SimpleNamespace(monotonic=lambda: next(slow)))
    slower = (number**3 for number in range(1000))
    monkeypatch.setattr(resources, "time", SimpleNamespace(perf_counter=lambda: next(slower)))
    monkeypatch.setattr(objects, "time", SimpleNamespace(sleep=lambda _: None))
    late = count(0, 10)
    monkeypatch.setattr(bodies, "time", SimpleNamespace(monotonic=lambda: next(late), sleep=lambda _: None))
    monkeypatch.setattr(memory, "gzip", SimpleNamespace(compress=lambda _: b""))  # 40 MB, which nobody reads here
    checks = {check.key: check for check in CHECKS}
    wrong = [f"{key}: no service is weak in it" for key in checks.keys() - {row[0] for row in WEAK}]
    for key, row, finding in WEAK:
        result = run_one(checks[key], Service(row).target())
        if result.outcome != "failed" or not result.detail.startswith(finding):
            wrong.append(f"{key}: {result.outcome} with {result.detail[:150]!r}, not with {finding!r}")
    assert not wrong, "\n".join(wrong)


def test_every_check_has_a_key_of_its_own_and_a_group_of_the_report() -> None:
    assert len({check.key for check in CHECKS}) == len(CHECKS) >= 40
    assert {check.group for check in CHECKS} == set(GROUPS)


def test_where_no_worker_serves_there_is_nothing_to_run() -> None:
    of_bodies = [
        check for check in CHECKS if check.run.__module__ in {"tests.security.memory", "tests.security.tables"}
    ]
    unserved = {**UPLOADS, "GET /tasks/types": TYPES, "GET /tasks/t2": NO_WORKER}
    assert {run_one(check, Service(unserved).target()).outcome for check in of_bodies} == {"passed"}


def test_where_the_pages_are_turned_off_there_is_nothing_to_probe() -> None:
    of_pages = [check for check in CHECKS if check.run.__module__ == "tests.security.pages"]
    assert {run_one(check, Service({}).target()).outcome for check in of_pages} == {"passed"}


def test_an_answer_of_another_shape_is_a_failure_not_a_crash() -> None:
    check = Check("odd", GROUPS[0], "odd", lambda target: target.ask("GET", "//docs").json())
    answers = {"GET //docs": httpx.Response(200, text="<!doctype html>")}
    assert run_one(check, Service(answers).target()).outcome == "failed"


class TestCommand:
    def test_fails_a_weak_one_and_says_in_what(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(security_test, "prepare", lambda *_: Service(everything(200, [])).target())
        monkeypatch.setattr("tests.security.registry.CHECKS", [each for each in CHECKS if each.key == "algorithm_none"])
        assert security_test.main(["http://127.0.0.1:1"]) == 1
        assert "FAIL  A token with the algorithm none is answered 401 — alg none: 200" in capsys.readouterr().out

    def test_a_server_that_is_not_there_is_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert security_test.main([f"http://127.0.0.1:{free_loopback_port()}"]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: ")
        assert said.out == ""
