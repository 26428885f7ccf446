"""What a flame graph tells of the machine that drew it."""

import sys

from tests.performance.flames import _without_places
from tests.support.services import ROOT


def test_no_place_of_the_machine_is_left() -> None:
    drawn = f"<text>{sys.prefix}/bin/python -m celery; {ROOT}/app/main.py; {sys.base_prefix}/lib/json.py</text>"
    assert _without_places(drawn) == "<text>bin/python -m celery; app/main.py; lib/json.py</text>"
