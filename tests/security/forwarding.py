"""URLs that a user names and the server asks: never into its own network."""

import json

from tests.security.registry import OUTBOUND, check, expect_status
from tests.security.target import Target

FETCH = "app.tasks.common_tasks.fetch_url"
INTERNAL = (
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f.0.0.1/", "http://0177.0.0.1/",
    "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/", "http://[fe80::1]/",
    "http://[fd00::1]/", "http://[64:ff9b::7f00:1]/",
)  # fmt: skip
LOCAL_NAMES = ("localhost", "LOCALHOST.", "a.localhost", "ip6-localhost", "metadata.google.internal")
NO_WEB = (
    "file:///etc/passwd", "gopher://8.8.8.8/", "ftp://8.8.8.8/", "http://user:password@8.8.8.8/", "//8.8.8.8/",
    "http://8.8.8.8\r\nX-Injected: yes/",
)  # fmt: skip


def _refused(target: Target, url: str, **kwargs: object) -> None:
    answer = target.new_task(celery_task_name=FETCH, args=[], kwargs={"url": url, **kwargs})
    expect_status(answer, 422, f"fetching {json.dumps(url)}")


@check(OUTBOUND)
def internal_urls(target: Target) -> None:
    """URLs of the inner network are refused, in whatever form the address is written"""
    for url in INTERNAL:
        _refused(target, url)


@check(OUTBOUND)
def local_names(target: Target) -> None:
    """Names that lead to the machine itself or to its host are refused when they are named, without a look-up"""
    for name in LOCAL_NAMES:
        _refused(target, f"http://{name}:8000/")
        answer = target.new_task(webhook_url=f"http://{name}:8000/")
        expect_status(answer, 422, f"a webhook_url of {name}")


@check(OUTBOUND)
def other_schemes(target: Target) -> None:
    """URLs that are none of the web, or carry credentials or line breaks, are refused"""
    for url in NO_WEB:
        _refused(target, url)


@check(OUTBOUND)
def smuggled_headers(target: Target) -> None:
    """A fetch sets no header that decides where or how it is sent"""
    for headers in ({"Host": "internal"}, {"Transfer-Encoding": "chunked"}, {"X": "a\r\nX-Injected: yes"}):
        _refused(target, "http://8.8.8.8/", headers=headers)
