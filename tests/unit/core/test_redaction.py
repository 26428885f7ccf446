"""What is hidden in JSON, what stays readable, and that it costs next to nothing."""

import copy
import inspect
import json
from typing import Any, ClassVar

import pytest

from app.core import redaction
from app.core.redaction import MASK, Parameters, holds_mask, is_secret, redact, restore_secrets, secrets_in
from tests.support.calls import calls
from tests.support.properties import given, st
from tests.support.tables import check_rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
SECRET_KEYS = [
    "password", "Password", "PASSWORD", "db_password", "dbPassword", "passwd", "pwd", "passphrase", "secret",
    "client_secret", "clientSecret", "CLIENT-SECRET", "token", "accessToken", "x-auth-token", "authorization",
    "Authorization", "api_key", "apiKey", "apikey", "X-API-Key", "private key", "privateKey", "credentials", "Set-Cookie",
    "ｐａｓｓｗｏｒｄ", "密码", "my.secret.name",
]  # fmt: skip


class TestKeys:
    def test_that_name_a_secret(self) -> None:
        def check(key: str) -> None:
            assert is_secret(key)
            assert redact([{"a": {key: "x"}}]) == [{"a": {key: MASK}}]

        check_rows(check, SECRET_KEYS)

    def test_that_name_none(self) -> None:
        keys = ("name", "user", "tokenizer", "tokenization", "secretary", "passenger", "keys", "", "author")
        assert redact(dict.fromkeys(keys, "x")) == dict.fromkeys(keys, "x")

    def test_that_count_show_their_number_but_no_text(self) -> None:
        keys = ("max_tokens", "maxTokens", "token_count", "tokens", "promptTokens", "password_length", "token_ttl")
        assert redact(dict.fromkeys(keys, 512)) == dict.fromkeys(keys, 512)
        assert redact(dict.fromkeys(keys, "512")) == dict.fromkeys(keys, MASK)

    def test_hide_whatever_stands_below_them_but_no_absence_and_no_switch(self) -> None:
        hidden = [1234, 0, 12.5, "", "x", [], ["x"], {}, {"max": 1}]
        assert redact([{"password": value} for value in hidden]) == [{"password": MASK}] * len(hidden)
        for value in (None, True, False):
            assert redact({"password": value})["password"] is value

    def test_may_stand_beside_their_value(self) -> None:
        headers = [{"name": "Authorization", "value": "x"}, {"key": "Accept", "value": "y"}, {"name": 1, "value": 2}]
        assert redact(headers) == [{"name": "Authorization", "value": MASK}, *headers[1:]]


class TestRedact:
    @given(JSON)
    def test_changes_nothing_but_what_stands_below_such_a_key(self, value: Any) -> None:
        before = copy.deepcopy(value)
        shown = redact(value)
        assert json.dumps(value) == json.dumps(before)
        assert bool(list(secrets_in(value))) <= (shown != value or MASK in json.dumps(value))
        if not any(is_secret(key) for key in _keys(value)):
            assert shown is value or json.dumps(shown) == json.dumps(value)

    @given(JSON, st.sampled_from(SECRET_KEYS), st.text(min_size=1).filter(lambda text: text != MASK))
    def test_hides_it_wherever_it_is(self, value: Any, key: str, secret: str) -> None:
        for wrapped in ({"a": value, "b": {key: secret}}, [value, [{key: secret}]], {key: [value, secret]}):
            assert secret in secrets_in(wrapped)
            assert secret not in secrets_in(redact(wrapped))

    def test_hides_it_among_thousands_of_keys(self) -> None:
        def check(at: int) -> None:
            keys = [f"k{number}" for number in range(3000)]
            keys[at] = "password"
            assert [key for key, shown in redact(dict.fromkeys(keys, "x")).items() if shown == MASK] == ["password"]

        check_rows(check, [0, 999, 1000, 2500, 2999])

    def test_survives_depth_and_circles(self) -> None:
        deep: Any = {"password": "x"}
        for _ in range(200):
            deep = [deep]
        assert '"password": "***"' in json.dumps(redact(deep))
        for _ in range(5000):
            deep = [deep]
        assert redact(deep) != deep
        circle: dict[str, Any] = {"token": "x"}
        circle["self"] = circle
        assert redact(circle)["token"] == MASK

    def test_costs_little(self) -> None:
        """Where nothing is to hide: it walks by levels, and calls nothing of its own for each value."""
        wide = {"rows": [{"id": n, "name": f"name {n}", "score": n / 7} for n in range(20_000)]}
        assert calls(lambda: redact(wide))[0] < 100
        assert redact(wide) is wide


class TestBackAgain:
    STORED: ClassVar[dict[str, Any]] = {
        "password": "x",
        "order": 1,
        "list": [{"token": 5}, {"name": "apiKey", "value": "v"}],
        "secret": {"a": [1]},
    }

    def test_what_was_shown_is_what_stands_there(self) -> None:
        sent = {**redact(self.STORED), "order": 2, "new": True}
        assert holds_mask(sent)
        assert restore_secrets(self.STORED, sent) == {**self.STORED, "order": 2, "new": True}

    def test_what_was_not_is_left_for_a_refusal(self) -> None:
        def check(sent: Any) -> None:
            assert holds_mask(restore_secrets(self.STORED, sent))

        check_rows(check, [
            {"token": MASK}, {"list": [{"token": MASK, "new": 1}]}, {"order": {"password": MASK}}, {"a": {"password": MASK}},
        ])  # fmt: skip

    def test_no_secret_moves_to_where_it_would_be_shown(self) -> None:
        stored = {"name": "password", "value": "hunter2", "token": "x"}
        told = restore_secrets(stored, {"name": "city", "value": MASK, "token": MASK})
        assert told == {"name": "city", "value": MASK, "token": "x"}

    def test_three_stars_elsewhere_are_three_stars(self) -> None:
        assert not holds_mask({"rating": MASK, "list": [MASK]})
        assert restore_secrets({"rating": "x"}, {"rating": MASK}) == {"rating": MASK}

    def test_a_number_stays_hidden_under_a_name_that_counts(self) -> None:
        """The mask is text, which such a name hides; the number that it stands for would be shown."""
        stored = {"x": {"name": "password", "value": 12345678}}
        assert restore_secrets(stored, {"x": {"name": "password", "value": MASK}}) == stored
        moved = restore_secrets(stored, {"x": {"name": "max_tokens", "value": MASK}})
        assert moved == {"x": {"name": "max_tokens", "value": MASK}}
        assert holds_mask(moved)

    def test_in_a_list_they_stay_with_what_they_stood_beside(self) -> None:
        """By their place alone the host a would get the password of the host b."""
        a, b = {"host": "a", "password": "of a"}, {"host": "b", "password": "of b"}
        shown = redact([a, b])
        assert restore_secrets([a, b], shown) == [a, b]
        assert restore_secrets([a, b], shown[::-1]) == [b, a]
        assert restore_secrets([a, b], shown[1:]) == [b]
        assert restore_secrets([a, b], [*shown, {"host": "c"}]) == [a, b, {"host": "c"}]
        assert holds_mask(restore_secrets([a], [{"host": "evil", "password": MASK}]))

    def test_in_a_list_twins_keep_their_places(self) -> None:
        stored = [{"password": "1"}, {"password": "2"}]
        assert restore_secrets(stored, redact(stored)) == stored
        assert holds_mask(restore_secrets(stored, [{"host": "new"}, *redact(stored)]))

    @pytest.mark.parametrize("nested", [False, True])
    def test_each_field_is_looked_at_a_few_times_whatever_the_size(
        self, nested: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A request of some KiB burned a core for minutes."""
        looks = 0

        def counting(*asked: Any) -> bool:
            nonlocal looks
            looks += 1
            return hides_at(*asked)

        hides_at = redaction._hides_at
        monkeypatch.setattr(redaction, "_hides_at", counting)
        items: Any = [{"at": at, "password": f"p{at}"} for at in range(500)]
        stored = {"a": items, **{f"pwd{at}": "p" for at in range(500)}}
        for _ in range(80 if nested else 0):
            stored = {"deeper": [stored]}
        shown = redact(stored)
        shown_moved = json.loads(json.dumps(shown).replace('"at": 7,', '"at": 7.0,'))
        looks = 0
        assert restore_secrets(stored, shown_moved) == stored
        assert looks < 12 * (3 * 500 + 80)

    def test_true_is_another_item_than_one(self) -> None:
        stored = [{"on": True, "password": "a"}, {"on": 0, "password": "b"}]
        assert holds_mask(restore_secrets(stored, [{"on": 1, "password": MASK}]))
        assert restore_secrets(stored, [{"on": 0.0, "password": MASK}]) == [{"on": 0, "password": "b"}]


class TestPositions:
    def test_go_by_the_parameters_names(self) -> None:
        def body(user: str, password: str, *tokens: str, api_key: str = "") -> None: ...

        parameters = Parameters.of(inspect.signature(body))
        assert parameters.redact(["anna", "x", "y", {"pwd": 1}]) == ["anna", MASK, MASK, MASK]
        assert list(parameters.secrets_in(["anna", "x", ["y"]])) == ["x", "y"]
        assert Parameters().redact(["x", {"token": "y"}]) == ["x", {"token": MASK}]

    def test_give_the_secrets_back(self) -> None:
        def body(host: str, password: str, config: dict[str, Any], *tokens: str) -> None: ...

        parameters = Parameters.of(inspect.signature(body))
        stored = ["a", "x", {"pwd": "y", "port": 1}, "t1", "t2"]
        shown = parameters.redact(stored)
        assert parameters.restore(stored, shown) == stored
        # A parameter has one place, whatever else changes.
        changed = ["b", MASK, {"pwd": MASK, "port": 2}, "t3", MASK]
        assert parameters.restore(stored, changed) == ["b", "x", {"pwd": "y", "port": 2}, "t3", "t2"]
        assert parameters.restore(stored, ["b", "z"]) == ["b", "z"]

    def test_give_no_secret_to_another_argument(self) -> None:
        def body(host: str, password: str = "", *tokens: str) -> None: ...

        parameters = Parameters.of(inspect.signature(body))
        for stored, sent, left in (
            (["a"], ["a", MASK], [1]),  # none was stored
            (["a", "x", "t1", "t2"], ["a", MASK, MASK], [2]),  # of two, which one?
            (["a", "x"], [MASK, MASK], []),  # three stars for a host
        ):
            restored = parameters.restore(stored, sent)
            assert parameters.masked(restored) == left
        assert restored == [MASK, "x"]

        def rest(*servers: dict[str, str]) -> None: ...

        parameters = Parameters.of(inspect.signature(rest))
        a, b = {"host": "a", "password": "of a"}, {"host": "b", "password": "of b"}
        assert parameters.restore([a, b], redact([b])) == [b]
        assert holds_mask(parameters.restore([a, b], [{"host": "evil", "password": MASK}]))


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        pair = [value.get("name"), value.get("key")] if "value" in value else []
        return [*value, *pair, *(key for inner in value.values() for key in _keys(inner))]
    return [key for inner in value for key in _keys(inner)] if isinstance(value, list) else []
