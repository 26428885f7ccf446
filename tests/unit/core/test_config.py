"""Settings: what production refuses, what is never printed, and the two files that are written from them."""

import re
import sqlite3
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from kombu.transport import TRANSPORT_ALIASES
from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from app.core import engines
from app.core.config import BROKERS, ConfigurationError, Settings, get_settings
from app.core.version import VERSION
from tests.support import settings_reference
from tests.support.services import ROOT
from tests.support.settings import settings
from tests.support.sources import text_of
from tests.support.tables import check_rows

GOOD_KEY = "2f1c7e0b9a8d4c6e5f3a1b2c3d4e5f60718293a4"


def example_lines() -> list[tuple[str, str]]:
    return re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", text_of(ROOT / ".env.example"), flags=re.MULTILINE)


def refusal(named: str, **given: Any) -> str:
    with pytest.raises(ValidationError, match=named) as refused:
        Settings(**given)
    return str(refused.value)


def in_production(**given: Any) -> dict[str, Any]:
    return {"app_env": "production", "secret_key": GOOD_KEY, **given}


class TestReference:
    def test_every_setting_has_a_description(self) -> None:
        assert [name for name, field in Settings.model_fields.items() if not field.description] == []

    def test_is_written_from_the_settings(self) -> None:
        """If this fails: python -m tests.support.settings_reference --write."""
        assert settings_reference.stale() == []

    def test_names_the_other_variables_that_compose_asks_for(self) -> None:
        page = text_of(ROOT / "docs" / "configuration.md")
        asked = set(re.findall(r"\$\{(\w+)", text_of(ROOT / "docker-compose.yml")))
        assert {name for name in asked if f"`{name}`" not in page} == set()


class TestExampleFile:
    def test_shows_the_defaults(self) -> None:
        defaults = Settings()
        shown = {name.lower(): value for name, value in example_lines()}
        given = {name: shown[name] for name, value in defaults if value is not None}
        assert dict(Settings.model_validate(given)) == dict(defaults)

    def test_holds_no_usable_secret(self) -> None:
        assert all(not value for name, value in example_lines() if re.search("SECRET|PASSWORD(?!LESS)", name))


def test_a_file_in_another_encoding_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("# 中文".encode("gbk"))
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))
    with settings({}), pytest.raises(ConfigurationError, match=r"^configuration: .*\.env is not in UTF-8 \(byte 3\)"):
        get_settings()


class TestProduction:
    def test_refuses_to_start_without_a_key(self) -> None:
        refusal("SECRET_KEY", **in_production(secret_key=None))

    def test_refuses_a_weak_key_also_among_the_former_ones_and_prints_none(self) -> None:
        former = GOOD_KEY[::-1]

        def check(key: str) -> None:
            told = refusal("SECRET_KEY", **in_production(secret_key=key))
            told += refusal("SECRET_KEY_PREVIOUS", **in_production(secret_key_previous=f"{former},{key}"))
            assert [hidden for hidden in (key, former, "input") if hidden in told] == []

        check_rows(check, ["tiny-key", "your-secret-key", "a" * 64, "changeme"])

    def test_refuses_what_is_open_and_does_not_print_it(self) -> None:
        def check(setting: dict[str, Any], named: str) -> None:
            told = refusal(named, **in_production(**setting))
            assert [hidden for hidden in ("hidden", "a.example", "db.example", GOOD_KEY) if hidden in told] == []
            Settings(secret_key=GOOD_KEY, **setting)  # outside production the developer decides

        databases = [
            "postgresql://hidden@db.example/d", "postgresql://hidden@/d?host=db.example",
            "postgresql://hidden@/d?host=localhost,db.example", "mysql://hidden@db.example/d",
            "mariadb://hidden@localhost/d?host=db.example",
        ]  # fmt: skip
        others = [({"cors_origins": ["https://a.example", "*"]}, "CORS_ORIGINS"), ({"debug": True}, "DEBUG")]
        check_rows(check, [*others, *(({"database_url": url}, "DATABASE_URL") for url in databases)])

    def test_takes_a_database_that_wants_credentials_or_is_local(self) -> None:
        def check(url: str) -> None:
            Settings(**in_production(database_url=url, cors_origins=["https://a.example"]))

        urls = [
            "postgresql://u:p@db.example/d", "postgresql://u@localhost/d", "postgresql://u@127.0.0.1:5432/d",
            "postgresql://u@[::1]/d", "postgresql:///d", "postgresql://u@/d?host=/run/postgresql",
            "postgresql://u@db.example/d?sslcert=a.crt&sslkey=a.key", "postgresql://u@db.example/d?passfile=/run/pgpass",
            "mysql://u:p@db.example/d", "mariadb://u@localhost/d", "mysql:///d?unix_socket=/run/mysqld/mysqld.sock",
            "mysql://u@db.example/d?unix_socket=/run/mysqld/mysqld.sock",
            "mysql://u@db.example/d?ssl_cert=a.crt&ssl_key=a.key", "mysql://u@db.example/d?read_default_file=/run/my.cnf",
            "sqlite:////var/lib/tasks.db",
        ]  # fmt: skip
        check_rows(check, urls)

    def test_names_everything_at_once_a_line_each(self) -> None:
        variables = {"APP_ENV": "production", "DEBUG": "true", "CORS_ORIGINS": '["*"]'}
        with settings(variables), pytest.raises(ConfigurationError) as end:
            get_settings()
        lines = str(end.value).splitlines()
        assert len(lines) == 3
        assert all(line.startswith("configuration: APP_ENV=production ") for line in lines)

    def test_closes_docs_and_metrics_unless_told_otherwise(self) -> None:
        assert not Settings(app_env="production", secret_key=GOOD_KEY).docs_open
        assert Settings(app_env="production", secret_key=GOOD_KEY, docs_enabled=True).docs_open
        assert Settings().docs_open
        assert not Settings(docs_enabled=False).docs_open


class TestLists:
    def test_a_host_is_a_name_or_a_whole_domain(self) -> None:
        wrong = ["", "*", "*.", "a b", "https://a", "a/b", "a:80", "a.*", "**.a", "*a.example"]
        check_rows(lambda host: refusal("allowed_hosts", allowed_hosts=[host]), wrong)
        good = ["A.example", "*.b.example", "10.0.0.1", "[::1]"]
        assert Settings(allowed_hosts=good).allowed_hosts == ["a.example", *good[1:]]

    def test_an_origin_is_what_a_browser_sends(self) -> None:
        wrong = ["", "null", "a.example", "https://a.example/", "https://*.a.example", "ftp://a", "https://"]
        check_rows(lambda origin: refusal("cors_origins", cors_origins=[origin]), wrong)
        Settings(cors_origins=["http://localhost:3000"])


class TestABrokerInProduction:
    def test_needs_a_password_and_is_not_printed(self) -> None:
        def check(url: str) -> None:
            for name in ("celery_broker_url", "celery_result_backend"):
                told = refusal(f"{name.upper()} without a password", **in_production(**{name: url}))
                assert "somewhere-secret" not in told
                Settings(**in_production(allow_passwordless_broker=True, **{name: url}))
                Settings(**{name: url})

        urls = [
            "redis://somewhere-secret:6379/0", "redis://user@somewhere-secret/0", "redis://:@somewhere-secret/0",
            "rediss://somewhere-secret/0", "redis://:pw@here/0;redis://somewhere-secret/0", "sentinel://somewhere-secret/0",
        ]  # fmt: skip
        check_rows(check, urls)

    def test_with_one_it_starts(self) -> None:
        urls = [
            "redis://:pw@h/0",
            "rediss://u:pw@h/0",
            "redis+socket:///run/valkey.sock",
            "amqp://u:pw@h//",
            "memory://",
        ]
        check_rows(lambda url: Settings(**in_production(celery_broker_url=url)), urls)


class TestTls:
    def test_a_certificate_is_checked_unless_the_url_says_otherwise(self) -> None:
        def check(given: str, used: str) -> None:
            taken = Settings(celery_broker_url=given, celery_result_backend=given)
            for url in (taken.celery_broker_url, taken.celery_result_backend):
                assert url is not None
                assert url.get_secret_value() == used

        check_rows(check, [
            ("rediss://:p@h/0", "rediss://:p@h/0?ssl_cert_reqs=required"),
            ("rediss://:p@h/0?ssl_ca_certs=/a", "rediss://:p@h/0?ssl_ca_certs=/a&ssl_cert_reqs=required"),
            ("rediss://:p@h/0?ssl_cert_reqs=none", "rediss://:p@h/0?ssl_cert_reqs=none"),
            ("redis://:p@h/0;rediss://:p@i/0", "redis://:p@h/0;rediss://:p@i/0?ssl_cert_reqs=required"),
            ("redis://:p@h/0", "redis://:p@h/0"),
        ])  # fmt: skip


class TestSigningKey:
    def test_is_never_short_and_depends_on_the_secret_alone(self) -> None:
        assert Settings(secret_key=GOOD_KEY).signing_key == GOOD_KEY
        assert len(Settings(secret_key="short").signing_key) == 64
        assert Settings(secret_key="short").signing_key == Settings(secret_key="short").signing_key
        assert len(Settings().signing_key) == 64


class TestWriting:
    def test_are_written_with_commas_or_as_json(self) -> None:
        def check(text: str) -> None:
            names = ("TASK_MODULES", "ALLOWED_HOSTS", "OUTBOUND_ALLOW", "OUTBOUND_DENY")
            with settings(dict.fromkeys(names, text)):
                assert [getattr(Settings(), name.lower()) for name in names] == [["a.b", "c"]] * 4

        check_rows(check, ["a.b,c", " a.b , c,", "a.b c", '["a.b", "c"]'])

    def test_what_is_refused_is_one_line_with_its_name_and_an_example(self) -> None:
        def check(name: str, text: str, told: str) -> None:
            with pytest.raises(ConfigurationError) as refused, settings({name: text}):
                get_settings()
            assert str(refused.value) == f"configuration: {name}: {told}"

        no_number = "Input should be a valid integer, unable to parse string as an integer"
        no_list = "neither names with commas between them nor a JSON list of texts"
        no_origin = r"String should match pattern '^\*$|^https?://[A-Za-z0-9._\[\]:-]+$'"
        shares = "(example: QUEUE_SHARES=high_priority:6,default:3,low_priority:1)"
        check_rows(check, [
            ("TASK_MODULES", '["a.b"', f"{no_list} (example: TASK_MODULES=mycompany.tasks)"),
            ("API_THREADS", "many", f"{no_number} (example: API_THREADS=4)"),
            ("QUEUE_SHARES", "default", f"names with a colon and a number each, and commas between them {shares}"),
            ("QUEUE_SHARES", "default:1,default:2", f"default stands there twice {shares}"),
            ("QUEUE_SHARES", "default:0", f"Input should be greater than or equal to 1 {shares}"),
            ("QUEUE_SHARES", "default:1001", f"Input should be less than or equal to 1000 {shares}"),
            ("QUEUE_SHARES", "default:few", f"{no_number} {shares}"),
            ("CORS_ORIGINS", "a,b", f"{no_origin} (example: CORS_ORIGINS=https://app.example.com)"),
        ])  # fmt: skip

    def test_shares_are_names_with_numbers(self) -> None:
        for text in ("default:3,low_priority:1", " default : 3 , low_priority:1,"):
            with settings({"QUEUE_SHARES": text}):
                assert Settings().queue_shares == {"default": 3, "low_priority": 1}, text


class TestFormerKeys:
    def test_are_separated_as_people_do_it(self) -> None:
        def check(text: str) -> None:
            with settings({"SECRET_KEY_PREVIOUS": text}):
                assert [key.get_secret_value() for key in Settings().secret_key_previous] == ["one-key", "another-key"]

        check_rows(check, ["one-key,another-key", "one-key another-key", " one-key ,\n another-key,"])

    def test_come_after_the_one_that_signs_and_are_never_short(self) -> None:
        loaded = Settings(secret_key=GOOD_KEY, secret_key_previous=f"{GOOD_KEY[::-1]},short")
        assert loaded.accepted_keys[:2] == [GOOD_KEY, GOOD_KEY[::-1]]
        assert [len(key) >= 32 for key in loaded.accepted_keys] == [True] * 3

    def test_are_not_shown(self) -> None:
        assert GOOD_KEY not in repr(Settings(secret_key_previous=GOOD_KEY))


class TestDatabaseUrl:
    def test_means_psycopg2_and_keeps_what_libpq_is_told(self) -> None:
        rest = "u:p%40w@h:5433/d?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem&application_name=x"
        for scheme in ("postgresql", "postgres", "postgresql+psycopg2"):
            url = Settings(database_url=f"{scheme}://{rest}").database_url
            assert url is not None
            assert url.get_secret_value() == f"postgresql+psycopg2://{rest}", scheme
        arguments = PGDialect_psycopg2().create_connect_args(make_url(f"postgresql+psycopg2://{rest}"))[1]
        assert arguments["sslmode"] == "verify-full"
        assert arguments["sslrootcert"] == "/etc/ssl/ca.pem"
        assert arguments["password"] == "p@w"

    def test_of_another_database_or_driver_is_refused_without_its_password(self) -> None:
        def check(scheme: str) -> None:
            assert "hidden" not in refusal("no other database", database_url=f"{scheme}://user:hidden@host/db")

        check_rows(check, ["oracle", "mssql+pyodbc", "mysql+mysqldb", "postgresql+psycopg", "cockroachdb", ""])

    def test_of_mysql_or_mariadb_means_pymysql_and_keeps_what_it_is_told(self) -> None:
        rest = "u:p%40w@h:3307/d?ssl_ca=/etc/ssl/ca.pem"
        for scheme in ("mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"):
            taken = Settings(database_url=f"{scheme}://{rest}")
            assert taken.database_url is not None
            assert taken.database_url.get_secret_value() == f"mysql+pymysql://{rest}", scheme
            assert taken.database_engine == engines.MYSQL, scheme
        arguments = MySQLDialect_pymysql().create_connect_args(make_url(f"mysql+pymysql://{rest}"))[1]
        assert arguments["ssl"] == {"ca": "/etc/ssl/ca.pem"}
        assert arguments["password"] == "p@w"

    def test_without_the_driver_of_mysql_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines, "find_spec", lambda _: None)
        with pytest.raises(ConfigurationError) as refused, settings({"DATABASE_URL": "mysql://user:hidden@host/db"}):
            get_settings()
        (line,) = str(refused.value).splitlines()
        assert "pip install 'task-service[mysql]'" in line
        assert "hidden" not in line
        Settings(database_url="postgresql://user@host/db")  # which needs none of it

    def test_of_sqlite_names_a_file(self) -> None:
        def check(path: str) -> None:
            taken = Settings(database_url=f"sqlite:///{path}")
            assert taken.database_url is not None
            assert taken.database_engine == engines.SQLITE
            assert make_url(taken.database_url.get_secret_value()).database == unquote(path.partition("?")[0])

        check_rows(check, ["/var/lib/tasks.db", "/srv/my%20data/ü %3F#:@.db", "/tasks?timeout=5"])

    def test_of_sqlite_without_an_absolute_path_is_refused(self) -> None:
        """Each process would have a database of its own, in memory or in its working directory."""

        check_rows(lambda rest: refusal("by its absolute path", database_url=f"sqlite://{rest}"), [
            "", "/", "//", "/:memory:", "/tasks.db", "/./tasks.db", "tasks.db", "host/var/tasks.db", "//var/",
            "//?mode=memory", "/file:/var/tasks.db?uri=true",
        ])  # fmt: skip

    def test_of_sqlite_takes_no_unknown_options(self) -> None:
        refusal("an option that SQLite does not know: foo", database_url="sqlite:////var/lib/tasks.db?timeout=5&foo=1")

    def test_of_a_sqlite_that_is_too_old_is_refused_with_both_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 44, 2))
        monkeypatch.setattr(sqlite3, "sqlite_version", "3.44.2")
        refusal(r"SQLite 3\.45 or newer is needed, not 3\.44\.2", database_url="sqlite:////var/lib/tasks.db")

    def test_that_is_not_set_means_postgresql(self) -> None:
        assert Settings().database_engine == engines.POSTGRESQL


class TestBrokerUrl:
    def test_that_cannot_be_read_is_refused_without_its_password(self) -> None:
        def check(url: str) -> None:
            assert "hid" not in refusal("must be a URL whose port is a number", celery_broker_url=url)

        check_rows(check, [
            "redis://:hid/den@h:6379/0", "redis://u:p@h:hidden/0", "redis://[hidden/0", "redis://u:p@hidden@h/0",
        ])  # fmt: skip

    def test_that_names_no_broker_is_refused(self) -> None:
        def check(url: str) -> None:
            refusal("must be a URL of a broker, such as redis://", celery_broker_url=url)

        check_rows(check, ["localhost:6379", "http://x/0", "redis:/x", "redis://a;b"])
        for url in ("AMQP://u:p@h//", "my.transport:Class://x", ""):
            assert Settings(celery_broker_url=url)

    def test_every_transport_of_kombu_is_known(self) -> None:
        assert {name.lower() for name in TRANSPORT_ALIASES} <= BROKERS

    def test_others_are_taken_as_they_are(self) -> None:
        def check(url: str) -> None:
            taken = Settings(celery_broker_url=url, celery_result_backend=url).celery_broker_url
            assert taken is not None
            assert taken.get_secret_value() == url

        check_rows(check, ["redis://:p%2Fw@h:6379/0", "sentinel://a:1;sentinel://b:2", "memory://", "amqp://"])


def test_the_version_is_the_projects() -> None:
    assert tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"] == VERSION
