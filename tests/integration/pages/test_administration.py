"""The pages of administrators: users and the audit; and the list of what was done to many tasks."""

import re
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from app.db.session import SessionLocal
from app.models import Task
from app.services.task_service import task_service
from tests.support.accounts import PASSWORD
from tests.support.audit import recorded
from tests.support.page_reader import Reader, heading, wrong
from tests.support.settings import sql
from tests.support.statements import statements
from tests.support.task_client import TaskClient


def form(**changed: str) -> dict[str, str]:
    name = f"u{uuid4().hex[:12]}"
    new = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "role": "user"}
    return new | {"max_priority": "critical", "weight": "1"} | changed


class TestANewUser:
    def test_has_the_rights_that_were_chosen(self, client: TestClient, administrator: Reader) -> None:
        typed = form(role="admin", weight="7", max_priority="high")
        made = administrator.post("/users", **typed)
        assert made.status_code == 303
        shown = administrator.get(made.headers["location"].removeprefix("/ui")).text
        assert "The user is created." in shown
        for value in ('<option value="admin" selected>', '<option value="high" selected>', 'value="7"'):
            assert value in shown
        assert Reader(client).sign_in(typed["username"]).status_code == 303

    def test_that_is_refused_leaves_what_was_typed_but_the_password(self, administrator: Reader) -> None:
        refused = administrator.post(
            "/users", **form(username="x", email="kept@example.com", weight="101", role="admin")
        )
        assert refused.status_code == 422
        assert wrong(refused.text).keys() == {"username", "weight"}
        assert 'value="kept@example.com"' in refused.text
        assert '<option value="admin" selected>' in refused.text
        assert PASSWORD not in refused.text

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"password": "password1"}, "password"),
            ({"password": ""}, "password"),
            ({"email": "nobody"}, "email"),
            ({"weight": "heavy"}, "weight"),
            ({"role": "owner"}, "role"),
        ],
    )
    def test_is_refused_at_the_field(self, administrator: Reader, changed: dict[str, str], field: str) -> None:
        answer = administrator.post("/users", **form(**changed))
        assert (answer.status_code, [*wrong(answer.text)]) == (422, [field])

    def test_says_which_of_its_names_is_taken(self, administrator: Reader, admin: TaskClient) -> None:
        for field in ("username", "email"):
            answer = administrator.post("/users", **form(**{field: admin.user[field].upper()}))
            assert (answer.status_code, [*wrong(answer.text)]) == (409, [field])


class TestAUser:
    def test_is_listed_with_what_is_in_hand(self, administrator: Reader, tasks: TaskClient) -> None:
        tasks.create()
        tasks.create()
        (row,) = re.findall(
            rf"<tr>(?:(?!<tr>).)*{tasks.user['username']}.*?</tr>", administrator.get("/users").text, re.DOTALL
        )
        assert f'href="/ui/users/{tasks.user["id"]}"' in row
        assert f'href="/ui/tasks?q=user:{tasks.user["id"]}+status:pending">2<' in row

    def test_is_changed(self, administrator: Reader, tasks: TaskClient) -> None:
        path = f"/users/{tasks.user['id']}"
        typed = form(username=tasks.user["username"], weight="3", max_priority="low")
        assert administrator.post(path, **typed).status_code == 303
        shown = administrator.get(path).text
        assert "The user is changed." in shown
        assert 'value="3"' in shown
        assert typed["email"] in shown
        assert '<option value="low" selected>' in shown

    def test_keeps_its_password_whatever_the_form_says(
        self, client: TestClient, administrator: Reader, tasks: TaskClient
    ) -> None:
        typed = form(username=tasks.user["username"], password="another long password that nobody sent")
        assert administrator.post(f"/users/{tasks.user['id']}", **typed).status_code == 303
        assert Reader(client).sign_in(tasks.user["username"]).status_code == 303

    def test_that_cannot_be_changed_so_keeps_what_was_typed(self, administrator: Reader, tasks: TaskClient) -> None:
        path = f"/users/{tasks.user['id']}"
        taken = administrator.post("/users", **form(username="taken-name"))
        assert taken.status_code == 303
        refused = administrator.post(path, **form(username="Taken-Name", email="typed@example.com"))
        assert (refused.status_code, [*wrong(refused.text)]) == (409, ["username"])
        assert 'value="typed@example.com"' in refused.text
        refused = administrator.post(path, **form(username=tasks.user["username"], email="taken-name@example.com"))
        assert refused.status_code == 303  # that address is of nobody
        refused = administrator.post(path, **form(username=tasks.user["username"], weight="0"))
        assert (refused.status_code, [*wrong(refused.text)]) == (422, ["weight"])

    def test_is_deactivated_after_a_question_and_activated(
        self, client: TestClient, administrator: Reader, tasks: TaskClient
    ) -> None:
        path = f"/users/{tasks.user['id']}"
        assert heading(administrator.post(f"{path}/deactivate").text) == f"Deactivate: {tasks.user['username']}"
        assert tasks.get("count").status_code == 200
        assert administrator.post(f"{path}/deactivate", confirmed="true").status_code == 303
        assert tasks.get("count").status_code == 401
        assert "The user is inactive" in (shown := administrator.get(path).text)
        assert "/activate" in shown
        administrator.post(f"{path}/activate")
        assert Reader(client).sign_in(tasks.user["username"]).status_code == 303

    def test_is_given_a_new_password(self, client: TestClient, administrator: Reader, tasks: TaskClient) -> None:
        path = f"/users/{tasks.user['id']}/password"
        refused = administrator.post(path, new_password="short")
        assert (refused.status_code, list(wrong(refused.text))) == (422, ["new_password"])
        assert tasks.http.get("/api/v1/users/me", headers=tasks.headers).status_code == 200
        assert administrator.post(path, new_password=f"another {PASSWORD}").status_code == 303
        assert tasks.http.get("/api/v1/users/me", headers=tasks.headers).status_code == 401
        assert Reader(client).sign_in(tasks.user["username"], f"another {PASSWORD}").status_code == 303
        assert [each.object_id for each in recorded("password.reset")] == [tasks.user["id"]]

    def test_sets_the_own_password_on_the_account_page(self, administrator: Reader, admin: TaskClient) -> None:
        answer = administrator.post(f"/users/{admin.user['id']}/password", new_password=f"another {PASSWORD}")
        assert answer.headers["location"] == "/ui/account"
        assert administrator.get("/users").status_code == 200
        assert 'name="new_password"' not in administrator.get(f"/users/{admin.user['id']}").text

    def test_is_deleted_after_a_question(self, administrator: Reader, tasks: TaskClient) -> None:
        tasks.task_in("failed")
        path = f"/users/{tasks.user['id']}"
        assert heading(administrator.post(f"{path}/delete").text) == f"Delete: {tasks.user['username']}"
        done = administrator.post(f"{path}/delete", confirmed="true")
        assert (done.status_code, done.headers["location"]) == (303, "/ui/users")
        assert "The user is deleted." in administrator.get("/users").text
        assert administrator.get(path).status_code == 404

    def test_with_tasks_in_hand_is_not_deleted(self, administrator: Reader, tasks: TaskClient) -> None:
        tasks.create()
        path = f"/users/{tasks.user['id']}"
        shown = administrator.get(path).text
        assert ("/delete" in shown, "cannot be deleted: cancel them first" in shown) == (False, True)
        assert administrator.post(f"{path}/delete", confirmed="true").status_code == 409

    def test_is_offered_nothing_against_oneself(self, administrator: Reader, admin: TaskClient) -> None:
        shown = administrator.get(f"/users/{admin.user['id']}").text
        assert "This is you" in shown
        for offered in ("/delete", "/deactivate", 'name="role"'):
            assert offered not in shown
        own = form(username=admin.user["username"], email=admin.user["email"], weight="2")
        del own["role"]
        assert administrator.post(f"/users/{admin.user['id']}", **own).status_code == 303

    def test_that_is_the_last_administrator_stays_one(self, administrator: Reader, admin: TaskClient) -> None:
        sql("UPDATE users SET role = 'user' WHERE role = 'admin' AND id <> :id", id=UUID(admin.user["id"]))
        path = f"/users/{admin.user['id']}"
        refused = administrator.post(path, **form(username=admin.user["username"]))
        assert (refused.status_code, "The last active administrator must stay one" in refused.text) == (409, True)
        for deed in ("deactivate", "delete"):
            assert administrator.post(f"{path}/{deed}", confirmed="true").status_code == 409
        assert administrator.get("/users").status_code == 200

    def test_loses_the_second_factor_after_a_question(self, administrator: Reader, tasks: TaskClient) -> None:
        path, user = f"/users/{tasks.user['id']}", UUID(tasks.user["id"])
        assert "/second-factor/remove" not in administrator.get(path).text
        sql(
            "INSERT INTO second_factors (user_id, secret, confirmed_at) VALUES (:id, '\\x00', clock_timestamp())",
            id=user,
        )
        assert f'action="/ui{path}/second-factor/remove"' in administrator.get(path).text
        assert heading(administrator.post(f"{path}/second-factor/remove").text).startswith("Remove the second factor")
        assert administrator.post(f"{path}/second-factor/remove", confirmed="true").status_code == 303
        assert "The second factor is removed" in administrator.get(path).text
        assert sql("SELECT count(*) FROM second_factors WHERE user_id = :id", id=user)[0][0] == 0

    def test_of_no_administrator_sees_none_of_it(self, reader: Reader, tasks: TaskClient) -> None:
        path = f"/users/{tasks.user['id']}"
        assert [reader.get(each).status_code for each in ("/users", "/users/new", path, "/audit")] == [403] * 4
        for deed in ("", "/activate", "/deactivate", "/delete", "/password", "/second-factor/remove"):
            assert reader.post(path + deed, confirmed="true").status_code == 403


def do_to_all(reader: Reader, deed: str, search: str) -> str:
    """Accept it. Returns the path of its page."""
    preview = reader.post(f"/bulk/{deed}/preview", q=search, all="true").text
    (token,) = re.findall(r'name="token" value="([^"]*)"', preview)
    answer = reader.post(f"/bulk/{deed}", token=token)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].removeprefix("/ui")


class TestBulkOperations:
    def test_are_listed_with_what_selected_the_tasks(self, reader: Reader, tasks: TaskClient) -> None:
        one = tasks.create(tags=["a b"])["id"]
        path = do_to_all(reader, "cancel", 'tag:"a b"')
        selected = re.findall(r'name="token" value="([^"]*)"', reader.post("/bulk/cancel/preview", ids=one).text)[0]
        other = reader.post("/bulk/cancel", token=selected).headers["location"]
        shown = reader.get("/bulk").text
        rows = re.findall(r"<tr><td.*?</tr>", shown, re.DOTALL)
        assert [f'href="{other}"' in rows[0], "selected one by one" in rows[0]] == [True, True]
        assert [f'href="/ui{path}"' in rows[1], "tag:&#34;a b&#34;" in rows[1]] == [True, True]
        assert "status:pending" in rows[1]
        assert "Cancel: 1 task" in rows[1]

    def test_have_a_page_that_leads_to_their_tasks(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.create(tags=["nightly"])
        shown = reader.get(do_to_all(reader, "cancel", "tag:nightly")).text
        assert 'href="/ui/tasks?q=tag%3Anightly"' in shown
        assert 'href="/ui/bulk"' in shown
        assert tasks.user["username"] not in shown.partition("<main")[2]  # one knows who one is

    def test_show_the_tasks_that_were_selected_one_by_one(self, reader: Reader, tasks: TaskClient) -> None:
        ids = [tasks.create(name=f"chosen {number}")["id"] for number in range(52)]
        token = re.findall(r'name="token" value="([^"]*)"', reader.post("/bulk/cancel/preview", ids=ids).text)[0]
        path = reader.post("/bulk/cancel", token=token).headers["location"].removeprefix("/ui").partition("?")[0]
        with SessionLocal.begin() as db:
            db.execute(delete(Task).where(Task.id == UUID(ids[0])))
        first = reader.get(path).text
        assert [f'href="/ui/tasks/{each}"' in first for each in (ids[0], ids[1], ids[49], ids[50])] == [
            False,
            True,
            True,
            False,
        ]
        assert f'<code>{ids[0]}</code> <span class="quiet">is not there' in first
        assert f'rel="next" href="/ui{path}?skip=50"' in first
        rest = reader.get(f"{path}?skip=50").text
        assert [f'href="/ui/tasks/{each}"' in rest for each in ids[49:]] == [False, True, True]
        assert 'rel="next"' not in rest

    def test_of_a_search_ask_for_no_selected_tasks(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.create(tags=["nightly"])
        path = do_to_all(reader, "cancel", "tag:nightly")
        with statements() as sent:
            assert reader.get(path).status_code == 200
        assert [text for text in sent if "bulk_deeds.selected" in text or "FROM tasks" in text] == []

    def test_tell_of_tasks_of_others_nothing(self, reader: Reader, tasks: TaskClient, others: TaskClient) -> None:
        secret = others.create(name="secret")["id"]
        ids = [tasks.create()["id"], secret]
        token = re.findall(r'name="token" value="([^"]*)"', reader.post("/bulk/cancel/preview", ids=ids).text)[0]
        shown = reader.get(reader.post("/bulk/cancel", token=token).headers["location"].removeprefix("/ui")).text
        assert [f'href="/ui/tasks/{each}"' in shown for each in ids] == [True, False]
        assert ">secret<" not in shown

    def test_of_others_are_the_administrators_to_see(
        self, administrator: Reader, reader: Reader, tasks: TaskClient
    ) -> None:
        tasks.create()
        path = do_to_all(reader, "cancel", "")
        shown = administrator.get("/bulk").text
        assert f'href="/ui/users/{tasks.user["id"]}"' in shown
        assert tasks.user["username"] in administrator.get(path).text
        assert f'href="/ui/audit?object_id={path.removeprefix("/bulk/")}"' in administrator.get(path).text

    def test_of_others_are_no_users_to_see(self, reader: Reader, stranger: Reader, others: TaskClient) -> None:
        assert "No bulk operation ran within a week." in reader.get("/bulk").text
        others.create()
        path = do_to_all(stranger, "cancel", "")
        assert "No bulk operation ran within a week." in reader.get("/bulk").text
        assert reader.get(path).status_code == 404

    def test_come_in_pages(self, reader: Reader, tasks: TaskClient) -> None:
        user = UUID(tasks.user["id"])
        with SessionLocal() as db:
            made = [task_service.start_bulk(db, "cancel", user_id=user, ids=[uuid4()]).id for _ in range(51)]
        first = reader.get("/bulk").text
        (following,) = re.findall(r'rel="next" href="/ui([^"]*)"', first)
        rest = reader.get(following).text
        listed = [re.findall(r'<td class="nowrap"><a href="/ui/bulk/([^"]*)"', page) for page in (first, rest)]
        assert [UUID(each) for each in (*listed[0], *listed[1])] == made[::-1]
        assert 'rel="next"' not in rest


class TestTheAudit:
    def test_tells_who_did_it_to_this_task(self, administrator: Reader, tasks: TaskClient) -> None:
        task = tasks.create()["id"]
        assert tasks.post(f"{task}/cancel").status_code == 200
        shown = administrator.get(f"/audit?object_id={task}").text
        assert "task.cancelled" in shown
        assert f'href="/ui/users/{tasks.user["id"]}"' in shown
        assert f'href="/ui/tasks/{task}"' in shown
        (record,) = recorded("task.cancelled", actor_id=UUID(tasks.user["id"]))
        opened = shown.partition("<details>")[2].partition("</details>")[0]
        for told in (task, record.request_id, "celery_task_name", tasks.user["id"]):
            assert told in opened

    def test_is_searched_by_the_name_or_the_id_of_who_did_it(self, administrator: Reader, tasks: TaskClient) -> None:
        task = tasks.create()["id"]
        tasks.post(f"{task}/cancel")
        for by in (tasks.user["username"].upper(), tasks.user["id"]):
            shown = administrator.get(f"/audit?by={by}").text
            assert f'name="by" value="{tasks.user["username"]}"' in shown
            assert task in shown
        assert task not in administrator.get(f"/audit?by={uuid4()}").text
        unknown = administrator.get("/audit?by=nobody-of-this-name")
        assert (unknown.status_code, "There is no user of this name." in unknown.text) == (200, True)

    def test_is_searched_by_an_event_or_by_all_of_its_kind(self, administrator: Reader, tasks: TaskClient) -> None:
        task = tasks.create()["id"]
        tasks.post(f"{task}/cancel")
        events = {
            query: set(re.findall(r"<summary><code>([\w.]+)</code>", administrator.get(f"/audit?{query}").text))
            for query in ("event=task", "event=task.cancelled", f"event=task&object_id={task}", "event=")
        }
        assert events["event=task.cancelled"] == events[f"event=task&object_id={task}"] == {"task.cancelled"}
        assert all(event.startswith("task.") for event in events["event=task"])
        assert "login.succeeded" in events["event="]
        assert administrator.get("/audit?event=nothing").status_code == 422
        two = administrator.get("/audit?event=user&event=login").text
        assert re.findall(r'<option selected value="(\w+)">', two) == ["login"]
        assert re.findall(r'<input type="hidden" name="event" value="(\w+)">', two) == ["user"]

    def test_keeps_the_filters_on_its_next_page(self, administrator: Reader, admin: TaskClient) -> None:
        for number in range(26):
            administrator.post(f"/users/{admin.user['id']}", username=admin.user["username"], weight=str(number + 2))
            administrator.post(
                f"/users/{admin.user['id']}", username=admin.user["username"], max_priority=("low", "high")[number % 2]
            )
        first = administrator.get(f"/audit?event=user&by={admin.user['username']}").text
        assert '<option selected value="user">' in first
        (following,) = re.findall(r'rel="next" href="/ui([^"]*)"', first)
        assert {"event=user", f"by={admin.user['username']}"} <= set(following.partition("?")[2].split("&amp;"))
        assert "user.weight_changed" in administrator.get(following.replace("&amp;", "&")).text

    def test_shows_a_deleted_user_by_the_id(self, administrator: Reader, tasks: TaskClient) -> None:
        assert administrator.post(f"/users/{tasks.user['id']}/delete", confirmed="true").status_code == 303
        shown = administrator.get(f"/audit?object_id={tasks.user['id']}&event=user.deleted").text
        assert tasks.user["id"] in shown
        assert tasks.user["username"] in shown  # which the record has kept
