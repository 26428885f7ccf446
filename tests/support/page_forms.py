"""Every route of the pages that takes a form."""

from typing import Any
from uuid import uuid4

from app.api.http.body_route import BodyRoute
from app.core.config import get_settings
from app.web.application import create_pages


def _unsafe_routes() -> dict[str, BodyRoute]:
    """Every route of the pages that is not read alone, by its path."""
    found = [route for route in create_pages(get_settings()).router.routes if isinstance(route, BodyRoute)]
    return {route.path_format: route for route in found if route.methods and route.methods - {"GET", "HEAD"}}


ROUTES = _unsafe_routes()


def path_of(route: BodyRoute) -> str:
    """One that the route takes."""
    return route.path_format.format(**{name: "theme" if name == "name" else uuid4() for name in route.param_convertors})


def fields_of(route: BodyRoute) -> list[str]:
    """The names of the fields of its form."""
    if route.body_field is None:
        return []
    model: Any = route.body_field.field_info.annotation
    return [field.alias or name for name, field in model.model_fields.items()]
