"""No package is older than the release that fixed a known hole. An audit tool without its database reports none.

What is listed is what the service runs on, and of the tests' packages those that read what comes over a network. Fixed in that
version, as the advisory or the project says. A package has the row of its newest fix: that version has the earlier fixes too.
"""

import importlib.metadata
from collections.abc import Callable, Iterator

from packaging.version import Version

from tests.support.requirements_files import locked
from tests.support.sources import assert_none
from tests.support.tools import needs

# package, first good version, advisory, what it was
FIXED = [
    ("python-jose", "3.4.0", "CVE-2024-33663 and -33664", "any token forged; a small token unpacks to gigabytes"),
    ("starlette", "1.3.1", "CVE-2026-54283", "the limits of form() passed by"),
    ("fastapi", "0.109.1", "CVE-2024-24762", "a Content-Type that takes quadratic time"),
    ("python-multipart", "0.0.27", "CVE-2026-42561", "any number of headers of a part"),
    ("uvicorn", "0.11.7", "CVE-2020-7694 and -7695", "escape sequences in the log; line breaks split an answer"),
    ("h11", "0.16.0", "CVE-2025-43859", "malformed chunks taken: requests smuggled past a proxy"),
    ("websockets", "9.1", "CVE-2021-33880", "a password compared in telling time"),
    ("pydantic", "1.8.2", "CVE-2021-29510", "infinity as a date never ends"),
    ("cryptography", "50.0.0", "CVE-2026-69247", "PKCS#7 decryption tells by its errors"),
    ("pyasn1", "0.6.4", "CVE-2026-59885", "crafted ASN.1 denies service"),
    ("rsa", "4.7", "CVE-2020-25658", "decryption in telling time"),
    ("ecdsa", "0.13.3", "CVE-2019-14853", "a malformed signature raises an uncaught error"),
    ("celery", "5.2.2", "CVE-2021-23727", "what lies in the result backend is trusted and may run commands"),
    ("redis", "4.5.4", "CVE-2023-28859", "a cancelled command's answer goes to the next caller"),
    ("sqlalchemy", "1.2.18", "CVE-2019-7164", "SQL through order_by"),
    ("mako", "1.2.2", "CVE-2022-40023", "a template's tag takes quadratic time"),
    ("idna", "3.15", "CVE-2026-45409", "a long name takes quadratic time"),
    ("pyyaml", "5.4", "CVE-2020-14343", "full_load runs what a document says"),
    ("joblib", "1.2.0", "CVE-2022-21797", "pre_dispatch is evaluated"),
    ("scipy", "1.10.0", "CVE-2023-25399", "a reference that is never given back"),
]
# Of the tests alone.
FIXED_IN_TESTS = [
    ("certifi", "2023.7.22", "CVE-2023-37920", "a root that browsers no longer trust"),
    ("httpx", "0.20.0", "CVE-2021-41945", "another host than the one that was checked"),
    ("requests", "2.31.0", "CVE-2023-32681", "a proxy's password sent to its destination"),
    ("urllib3", "2.7.0", "CVE-2026-44432", "an answer unpacked whole where a part was asked for"),
    ("pillow", "10.0.1", "PYSEC-2023-175", "libwebp writes out of bounds (CVE-2023-4863)"),
]
# Without a fix, and no concern of ours: python-jose still takes a DER public key for an HMAC secret when it is told no algorithm
# (`core/security.py` names HS256 alone, and has no public key). It also brings ecdsa, whose leak in time its makers do not mend
# (CVE-2024-23342): it is there, and never imported (`tests/unit/test_house.py`).


def too_old(rows: list[tuple[str, str, str, str]], versions: Callable[[str], list[Version]]) -> Iterator[str]:
    for package, fixed, advisory, what in rows:
        found = versions(package)
        if not found:
            yield f"{package} is no longer there: take its row out"
        elif min(found) < Version(fixed):
            yield f"{package} {min(found)} is older than {fixed}: {what} ({advisory})"


def installed(package: str) -> list[Version]:
    return [Version(importlib.metadata.version(package))]


def test_the_installed_ones_are_good() -> None:
    assert_none(too_old(FIXED, installed))


@needs("schemathesis")
def test_the_installed_ones_of_the_tests_are_good() -> None:
    assert_none(too_old(FIXED_IN_TESTS, installed))


def test_the_locked_ones_are_good() -> None:
    assert_none(too_old(FIXED, lambda package: [pin.version for pin in locked() if pin.name == package]))
