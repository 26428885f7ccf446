"""Routes that refuse a query parameter which they do not have: a misspelt filter would match everything."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from fastapi import Request, Response

from app.api.http.body_route import BodyRoute
from app.core.nearest import MAX_CHARACTERS, did_you_mean
from app.errors import FieldError, InvalidInput, RepeatedParameter, UnknownParameter

MAX_NAMED = 10  # of the refused parameters


class StrictRoute(BodyRoute):
    """A route that answers 422 to a query parameter that it does not have, and to a single one that is repeated.

    A caller without a valid token gets 401 all the same.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, behind the look at the names in the query."""
        handle = super().get_route_handler()
        known = self.query_parameters

        async def handle_known(request: Request) -> Response:
            if request.scope["query_string"]:
                refused = refusal((name for name, _ in request.query_params.multi_items()), known)
                if refused is not None:
                    if self.check_token is not None:
                        await self.check_token(request, True)
                    raise refused
            return await handle(request)

        return handle_known


def unknown(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the names that are not known, each once and cut to 100 characters; ten at most."""
    return [*dict.fromkeys(name[:MAX_CHARACTERS] for name in names if name not in known)][:MAX_NAMED]


def refusal(names: Iterable[str], known: Mapping[str, bool]) -> InvalidInput | None:
    """Return the error for the names in a query, None if all is well. `known` says which may be repeated."""
    counted = Counter(names)
    if strange := unknown(counted, known):
        all_known = f"Known: {', '.join(sorted(known))}" if known else "This call takes none"
        named = ", ".join(f"{name}{did_you_mean(name, known)}" for name in strange)
        errors = [_error(name, f"unknown parameter{did_you_mean(name, known)}", UnknownParameter) for name in strange]
        return UnknownParameter(f"Unknown query parameter: {named}. {all_known}", errors)
    if repeated := [name for name, times in counted.items() if times > 1 and not known[name]]:
        errors = [_error(name, "this parameter may be sent once", RepeatedParameter) for name in repeated[:MAX_NAMED]]
        return RepeatedParameter(f"This query parameter may be sent once: {', '.join(repeated[:MAX_NAMED])}", errors)
    return None


def _error(name: str, message: str, kind: type[InvalidInput]) -> FieldError:
    return {"loc": [name], "msg": message, "type": kind.code}
