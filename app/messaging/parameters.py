"""The parameters of a task's body: what its signature says they are, checked and converted by pydantic.

A client sends JSON and the row keeps it. The body gets what its annotations name: a date, an Enum, a model with its
defaults.
"""

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_json

from app.core.json_text import dump_json
from app.core.nearest import MAX_CHARACTERS, did_you_mean
from app.core.redaction import holds_mask
from app.core.validation_errors import MAX_ERRORS, field_errors
from app.errors import FieldError, InvalidArguments, Text
from app.messaging.input_files import FORMAT, collecting

# Filled by the base class, never by a client.
FILLED = frozenset({"task_id"})
_MAX_LISTED = 1000
_MASKED = "*** hides a secret: send the value itself"


class UnusableParameter(Exception):
    """An annotation with which a task cannot be created. The text names the parameter, the annotation, the remedy."""


@dataclass(frozen=True)
class TaskParameters:
    """The parameters that a caller fills. `model` has one field for each, under the parameter's name as alias."""

    signature: inspect.Signature
    model: type[BaseModel] = field(repr=False)
    json_schema: dict[str, Any] = field(repr=False)
    # What a `bind=True` body calls its first parameter, mostly `self`.
    bound_to: str | None
    # Of the body itself, `task_id` included.
    of_body: inspect.Signature
    # For the parameters for which the body gets something else than the JSON that was sent.
    converters: Mapping[str, TypeAdapter[Any]] = field(repr=False)

    def check(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, naming the parameter, unless the body can be called with these."""
        values = self.check_names(args, kwargs)
        masked = [name for name, value in values.items() if holds_mask({name: value})] if holds_mask(values) else ()
        if masked:
            raise InvalidArguments(errors=[_error(["kwargs", name], _MASKED, "hidden_value") for name in masked])
        self._validate(dump_json(values), len(args))

    def check_filled(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Check as `check` does, where arguments hold results of other tasks: a `***` in one hides nothing."""
        self._validate(dump_json(self.check_names(args, kwargs)), len(args))

    def check_names(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by the names of their parameters, whatever they are. Raises InvalidArguments."""
        given = [name for name in kwargs if name in FILLED or name == self.bound_to]
        if given:
            raise InvalidArguments(
                errors=[_error(["kwargs", *given], "The service fills this parameter: do not send it", "not_yours")]
            )
        return self._values(self._bind(args, kwargs))

    def convert(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments as the annotations name them. Raises InvalidArguments, naming the parameter.

        Only what is converted is checked. Arguments that the signature does not take are left to the body: a decorator
        may add some, and Python says what is missing.
        """
        try:
            bound = self.of_body.bind(*args, **kwargs)
        except TypeError:
            return args, kwargs
        refused: list[FieldError] = []
        by_position = [*self.of_body.parameters][: len(args)]
        for name in self.converters.keys() & bound.arguments.keys():
            try:
                bound.arguments[name] = _converted(self.converters[name], bound.arguments[name])
            except ValidationError as error:
                refused += _errors(error, by_position, name)
        if refused:
            raise InvalidArguments(errors=refused[:MAX_ERRORS])
        return bound.args, bound.kwargs

    @functools.cached_property
    def takes_files(self) -> bool:
        """Return whether one of the parameters names a file."""
        return f'"{FORMAT}"' in dump_json(self.json_schema)

    @functools.cached_property
    def file_parameters(self) -> frozenset[str]:
        """Return the names of the parameters whose value may hold ids of files."""
        in_models = f'"{FORMAT}"' in dump_json(self.json_schema.get("$defs", {}))
        written = {name: dump_json(schema) for name, schema in self.json_schema.get("properties", {}).items()}
        return frozenset(
            name for name, text in written.items() if f'"{FORMAT}"' in text or (in_models and '"$ref"' in text)
        )

    @property
    def requires_files(self) -> bool:
        """Return whether a parameter without a default names a file."""
        return not self.file_parameters.isdisjoint(self.json_schema.get("required", ()))

    def names_files(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether these arguments may name a file: a reference of a workflow may become the id of one."""
        if not self.takes_files:  # nearly always
            return False
        try:
            values = self._values(self._bind(args, kwargs))
        except InvalidArguments:
            return True  # of a former signature: nothing is known of them
        return any(values.get(name) not in (None, [], {}, ()) for name in self.file_parameters)

    def files(self, args: list[Any], kwargs: Mapping[str, Any]) -> list[UUID]:
        """Return the ids of the files that these arguments name, wherever else they are at fault."""
        if not self.takes_files:  # nearly always
            return []
        with collecting() as found:
            try:
                self.check_filled(args, kwargs)
            except InvalidArguments:
                return [*found]  # in a workflow, a reference stands for another argument
        return [*found]

    def place_of(self, args: Sequence[Any], kwargs: Mapping[str, Any], text: str) -> list[str | int]:
        """Return where an argument has this text, as the errors of `check` name a place."""
        names = [*self.signature.parameters]
        for at, value in enumerate(args):
            if _holds(value, text):
                return ["args", *names[at : at + 1]]
        named = [name for name, value in kwargs.items() if _holds(value, text)]
        return ["kwargs", *named[:1]]

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(errors=self._misfits(error, kwargs)) from None

    def _misfits(self, error: TypeError, kwargs: Mapping[str, Any]) -> list[FieldError]:
        """Return what `Signature.bind` complains of, and each unknown name: it complains of one thing."""
        known = self.signature.parameters
        names = () if any(each.kind is each.VAR_KEYWORD for each in known.values()) else kwargs.keys() - known.keys()
        unknown = [
            _error(
                ["kwargs", name[:MAX_CHARACTERS]], Text("unknown argument{}", did_you_mean(name, known)), "arguments"
            )
            for name in [name for name in kwargs if name in names][:MAX_ERRORS]
        ]
        return unknown if str(error).startswith(_UNEXPECTED) and unknown else [self._misfit(error), *unknown]

    def _misfit(self, error: TypeError) -> FieldError:
        """Return what `Signature.bind` complains of: its message quotes the name."""
        text, known = str(error), [*self.signature.parameters]
        name = next(iter(text.split("'")[1:2]), "")[:MAX_CHARACTERS]
        by_position = [p for p in self.signature.parameters.values() if p.kind in _BY_POSITION]
        said = {
            "missing": "is required",
            "multiple": "was sent twice, by its place and by its name",
            _UNEXPECTED: Text("unknown argument{}", did_you_mean(name, known)),
            "too many": Text("takes {} arguments by position at most", len(by_position)),
        }
        message = next((reason for begin, reason in said.items() if text.startswith(begin)), text)
        return _error(["kwargs", name] if name else ["args"], message, "arguments")

    def _values(self, bound: inspect.BoundArguments) -> dict[str, Any]:
        values = dict(bound.arguments)
        stars = {p.kind: p.name for p in self.signature.parameters.values()}
        extra = dict(values.pop(stars.get(inspect.Parameter.VAR_KEYWORD, ""), {}))
        # One that is called like the `*args` parameter is no value for it.
        extra.pop(stars.get(inspect.Parameter.VAR_POSITIONAL), None)
        return {**extra, **values}

    def _validate(self, text: str, positional: int) -> None:
        try:
            # As the JSON that it is: strict, so that "30" is no number, yet a date may be written as text.
            self.model.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise InvalidArguments(errors=_errors(error, [*self.signature.parameters][:positional])) from None


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_holds(each, text) for each in value.values())
    return any(_holds(each, text) for each in value) if isinstance(value, list) else value == text


_UNEXPECTED = "got an unexpected"
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# No task is one of these: a first parameter of such a type is an argument.
_OF_ARGUMENTS = frozenset({
    int, float, str, bool, bytes, list, dict, tuple, set, frozenset, date, datetime, UUID, Decimal,
})  # fmt: skip


@functools.cache
def parameters_of_task(task: Any) -> TaskParameters:
    """Read a task's parameters from the signature of its body. Raises UnusableParameter."""
    _check_self(task)
    try:
        of_body = inspect.signature(task.run)
    except (TypeError, ValueError) as error:
        raise UnusableParameter(f"its parameters cannot be read ({error}): write a function around it") from error
    signature = of_body.replace(parameters=[p for p in of_body.parameters.values() if p.name not in FILLED])
    if "self" in signature.parameters:
        raise UnusableParameter("its first parameter is `self`: write bind=True in the decorator")
    hints = {parameter.name: _hint(task, parameter) for parameter in signature.parameters.values()}
    try:
        model = _model(task.name, signature, hints)
        schema = model.model_json_schema()
        converters = {
            p.name: _converter(hints[p.name], several=p.kind is p.VAR_POSITIONAL)
            for p in signature.parameters.values()
            if p.kind is not p.VAR_KEYWORD and not _is_as_sent(hints[p.name])  # `**kwargs` are taken as they are
        }
    except Exception as error:  # beside pydantic's own errors those of a type that describes itself to pydantic
        raise _unusable(signature, hints, error) from error
    return TaskParameters(signature, model, schema, _bound_to(task), of_body, converters)


def arguments_of_body(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments of a request as the body's annotations name them. Raises InvalidArguments.

    Nothing is checked or copied where JSON brings them as they are, or where the signature cannot be read. A validator
    of the user's may raise anything else.
    """
    parameters = _converting(task)
    return (args, kwargs) if parameters is None else parameters.convert(args, kwargs)


@functools.cache
def takes_files(task: Any) -> bool:
    """Return whether a parameter of the body names a file."""
    parameters = _converting(task)
    return parameters is not None and parameters.takes_files


def without_filled(task: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments of a message of no record without what only the service fills (`FILLED`).

    A body takes that for its own record's, so each has its default here, or None, whatever the sender wrote.
    """
    defaults = _filled(task)
    if not defaults:
        return args, kwargs
    place = {at: name for name, (at, _) in defaults.items() if at is not None}
    args = [defaults[place[at]][1] if at in place else value for at, value in enumerate(args)]
    return args, {name: defaults[name][1] if name in defaults else value for name, value in kwargs.items()}


@functools.cache
def _filled(task: Any) -> dict[str, tuple[int | None, Any]]:
    """Return the body's parameters among `FILLED`: {name: (position, None where by name alone; default)}."""
    found = {}
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for at, parameter in enumerate(inspect.signature(task.run).parameters.values()):
        if parameter.name in FILLED:
            default = None if parameter.default is parameter.empty else parameter.default
            found[parameter.name] = at if parameter.kind in by_position else None, default
    return found


@functools.cache
def _converting(task: Any) -> TaskParameters | None:
    try:
        parameters = parameters_of_task(task)
    except UnusableParameter:
        return None  # the catalogue has said so
    return parameters if parameters.converters else None


def _check_self(task: Any) -> None:
    """Raise UnusableParameter where `bind=True` fills with the task what its author means as an argument."""
    if not inspect.ismethod(task.run):
        return
    filled = next(iter(inspect.signature(task.run.__func__).parameters.values()), None)
    if filled is None:
        raise UnusableParameter(
            "bind=True gives it the task: add `self` as its first parameter, or leave bind=True out"
        )
    try:
        hint = filled.annotation if filled.annotation is filled.empty else _hint(task, filled)
    except UnusableParameter:
        return  # of `self`, such as a name that is imported for type checkers alone
    if (get_origin(hint) or hint) in _OF_ARGUMENTS:
        raise UnusableParameter(
            f"bind=True fills its first parameter {_written(filled)} with the task: put `self` before it, or leave "
            "bind=True out"
        )


def _hint(task: Any, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    function = inspect.unwrap(task.run)
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        hint = get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)[parameter.name]
    except Exception as error:
        remedy = "correct the name, or import it at the top of the module, outside `if TYPE_CHECKING:`"
        raise UnusableParameter(f"parameter {_written(parameter)} cannot be resolved ({error}): {remedy}") from error
    return _kept(hint)


def _kept(hint: Any) -> Any:
    """Return `list[X]` for `Iterable[X]`, of which pydantic makes a generator that can be read once."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_kept(parts[0]), *parts[1:])]
    if origin is Iterable or hint is Iterable:
        element: Any = parts[0] if parts else Any
        return list[element]
    return hint


def _model(title: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> type[BaseModel]:
    """Return a pydantic model with a field a parameter; `**kwargs` lets others in, `*args` is an array of its name."""
    fields: dict[str, Any] = {}
    extra = "forbid"
    for number, parameter in enumerate(signature.parameters.values()):
        hint: Any = hints[parameter.name]
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.kind is parameter.VAR_POSITIONAL:
            fields[f"p{number}"] = (tuple[hint, ...], Field((), alias=parameter.name))
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            # By alias: a parameter may be called `json` or `_x`, which a field may not.
            fields[f"p{number}"] = (hint, Field(default, alias=parameter.name))
    config = ConfigDict(extra=extra, title=title, protected_namespaces=())  # type: ignore[typeddict-item]
    return create_model(title.rsplit(".", 1)[-1], __config__=config, **fields)


def _unusable(signature: inspect.Signature, hints: Mapping[str, Any], error: Exception) -> UnusableParameter:
    """Return the error for the first parameter that pydantic refuses by itself."""
    remedy = "use a type that JSON can fill, such as a pydantic model or a dataclass, or catalogue=False"
    for parameter in signature.parameters.values():
        try:
            _model("parameter", signature.replace(parameters=[parameter]), hints).model_json_schema()
        except Exception as refused:  # noqa: BLE001 (as above)
            return UnusableParameter(f"parameter {_written(parameter)} is no JSON ({_reason(refused)}): {remedy}")
    return UnusableParameter(f"its parameters are no JSON ({_reason(error)}): {remedy}")


def _reason(error: Exception) -> str:
    """Return the first sentence of an error."""
    text = error.message if isinstance(error, PydanticUserError) else f"{type(error).__name__}: {error}"
    return text.partition(". ")[0].partition("\n")[0]


def _converter(hint: Any, *, several: bool) -> TypeAdapter[Any]:
    """Return what checks and converts the value of a parameter, or the `several` values of `*args`."""
    return TypeAdapter(tuple[hint, ...] if several else hint)


def _converted(converter: TypeAdapter[Any], value: Any) -> Any:
    """Return what the annotation makes of an argument. Raises ValidationError."""
    try:
        text = dump_json(value)
    except (TypeError, ValueError):
        # From no row. After `.delay()` kombu brings dates, UUIDs, decimals and bytes, after `.apply()` it is anything.
        try:
            return converter.validate_python(value, strict=True)
        except ValidationError as error:
            try:
                return converter.validate_json(to_json(value), strict=True)
            except PydanticSerializationError:
                raise error from None
    return converter.validate_json(text, strict=True)


def _written(parameter: inspect.Parameter) -> str:
    """Return a parameter as its signature writes it, without the default."""
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return f"`{parameter.name}: {text}`"


def _is_as_sent(hint: Any) -> bool:
    """Return whether JSON brings the values of this type as they are."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType, list):
        return all(map(_is_as_sent, parts))
    if origin is dict:
        return parts[0] is str and _is_as_sent(parts[1])
    return origin is Literal or hint in (Any, str, int, bool, list, dict, NoneType)


def _bound_to(task: Any) -> str | None:
    function = inspect.unwrap(task.run)
    first = next(iter(inspect.signature(getattr(function, "__func__", function)).parameters), None)
    return None if first in inspect.signature(task.run).parameters else first


def _errors(error: ValidationError, by_position: Sequence[str], *parameter: str) -> list[FieldError]:
    """Return pydantic's errors. `parameter` is the one whose value was checked, where it was checked alone.

    pydantic can only list all errors, and would hold the interpreter's lock for so long: many are one error.
    """
    if error.error_count() > _MAX_LISTED:
        return [
            _error(["kwargs", *parameter], Text("The arguments have {} errors", error.error_count()), "too_many_errors")
        ]
    located: list[dict[str, Any]] = [
        {**each, "loc": (*parameter, *each["loc"])} for each in error.errors(include_url=False)[:MAX_ERRORS]
    ]
    return [
        refused
        for each in located
        for refused in field_errors([each], "args" if each["loc"][:1] and each["loc"][0] in by_position else "kwargs")
    ]


def _error(loc: list[str | int], message: str, kind: str) -> FieldError:
    return {"loc": loc, "msg": message, "type": kind}
