"""Where a change leads back to: the page that its form stood on."""

import re
from typing import Annotated

from fastapi import Form

MAX_LENGTH = 2000
# A page of this application: the path below `/ui` before which the browser's host stands in any case.
_PAGE = re.compile(r"/(?![/\\])[!-\[\]-~]*")

# The field of a form that names its page.
Back = Annotated[str, Form(max_length=MAX_LENGTH)]


def checked(path: str, otherwise: str = "/") -> str:
    """Return the path, or the other one where it leads out of the pages."""
    return path if _PAGE.fullmatch(path) else otherwise
