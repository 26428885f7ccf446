"""The fields of TaskCreate that the form has beside the arguments, all of them."""

from collections.abc import Mapping
from typing import Any

from app.models.task import TaskPriority
from app.schemas.task import TaskCreate
from app.web.task_form.shapes import Shape, Shapes, shape_of

_NOT_OPTIONS = ("celery_task_name", "args", "kwargs")
# What a field is without being sent. A form that sends nothing says the same.
DEFAULTS: Mapping[str, Any] = {
    name: each.get_default(call_default_factory=True)
    for name, each in TaskCreate.model_fields.items()
    if not each.is_required()
}
# What stands in the form of a new task. `name` is that of the task.
TYPED_DEFAULTS = {"task_type": "manual", "priority": TaskPriority.NORMAL.value}


def _shape(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Shape:
    if name == "priority":  # its other spellings are for the API alone
        return Shape({"enum": [each.value for each in TaskPriority]}, {})
    found = shape_of(schema, definitions)
    without = {key: value for key, value in found.schema.items() if key not in {"description", "default", "pattern"}}
    return Shape(without, found.definitions, in_one_line=name in {"tags", "depends_on"})


OPTIONS = Shapes(TaskCreate, _shape, without=_NOT_OPTIONS)
