"""From plain YAML values to frozen ones: an attrs class says which fields an object has, and every fault is found at once.

A message is an attrs class. Its fields are named as in the YAML, in snake_case; a type says what may stand there, `Annotated`
with a function of `units` where a plain type does not. A field without a default is required. Three class attributes say more:

- `REFUSED` names the fields that Istio or Kubernetes have and we do not support yet;
- `BESIDE` names those that mean nothing to a sidecar, in Istio neither; `OPEN = True` says so of all that are not named;
- `SPELLINGS` maps a field's name to other names that it has in the YAML.

A method `faults()` may yield what is wrong between fields, with paths from the message down.
"""

import difflib
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from meshcar.rules import patterns, units
from meshcar.rules.problems import Fault, Path, severity, shorten


class Faults(list[Fault]):
    """What is wrong with a document, as it is found. `known` holds the values that were made already: documents say much the same, and
    equal values are kept once. `patterns` compiles the document's patterns."""

    def __init__(self, known: dict[Any, Any] | None = None) -> None:
        super().__init__()
        self.patterns = patterns.Patterns()
        self._known = {} if known is None else known

    def shared(self, value: Any) -> Any:
        """A value that equals this one; the first there was. One with a mapping in it cannot be looked up, and stays itself."""
        try:
            return self._known.setdefault(value, value)
        except TypeError:
            return value


Shape = Callable[[Any, Path, Faults], Any]
"""Makes the value out of what stands at a path and adds to the list what is wrong; the value is of no use if anything was added."""

MAX_FAULTS = 200
"""So many faults of a document are told in full."""

_SHOWN = 6
"""So many of an object's fields are told to who gave something else."""

_PLAIN: dict[Any, Callable[[object], Any]] = {str: units.text, bool: units.boolean, int: units.integer}


def message(cls: type, made: dict[type, Shape] | None = None) -> Shape:
    """The shape of a message class. `made` are shapes that are there already: a kind has some messages in several places."""
    made = {} if made is None else made
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, tuple[str, Shape]] = {}
    spellings: Mapping[str, tuple[str, ...]] = getattr(cls, "SPELLINGS", {})
    for field in attrs.fields(cls):
        shape = shape_of(hints[field.name], made)
        for name in spellings.get(field.name, (camel(field.name),)):
            fields[name] = (field.name, shape)
    required = {one.name: camel(one.name) for one in attrs.fields(cls) if one.default is attrs.NOTHING}
    unknown = _unknown_field(cls, tuple(fields))
    check = getattr(cls, "faults", None)
    wanted = f"an object with {_listed(tuple(fields))}" if fields else "an object"

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not dict:
            return _wrong(faults, path, wanted, value)
        before = len(faults)
        values: dict[str, Any] = {}
        for key, given in value.items():
            known = fields.get(key)
            if known is None:
                unknown(key, path, faults)
            elif given is not None:
                values[known[0]] = known[1](given, (*path, key), faults)
        for name, key in required.items():
            if name not in values:
                faults.append(Fault((*path, key), "REQUIRED", f"{key} is missing"))
        if _errors(faults, before):
            return None
        result = cls(**values)
        if check is not None:
            faults += (attrs.evolve(fault, path=path + fault.path) for fault in check(result))
        return faults.shared(result)

    return read


def shape_of(hint: Any, made: dict[type, Shape]) -> Shape:
    """The shape of a field's type; `made` as in `message`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return regex(arguments[1]) if arguments[1] in (patterns.pattern, patterns.pattern_or_any) else unit(arguments[1])
    if origin is Union or origin is types.UnionType:
        return shape_of(next(one for one in arguments if one is not type(None)), made)
    if origin is Literal:
        return one_of(arguments)
    if origin is tuple:
        return list_of(shape_of(arguments[0], made))
    if origin is not None and issubclass(origin, Mapping):
        return map_of(shape_of(arguments[0], made), shape_of(arguments[1], made))
    if not attrs.has(hint):
        return unit(_PLAIN[hint])
    if hint not in made:
        made[hint] = message(hint, made)
    return made[hint]


def unit(make: Callable[[object], Any]) -> Shape:
    """One value, made by a function of `units`."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return _made(make, value, path, faults)

    return read


def regex(make: Callable[[object], Any]) -> Shape:
    """One value, made by a function of `patterns`."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        return _made(partial(faults.patterns.compile, make), value, path, faults)

    return read


def _made(make: Callable[[object], Any], value: Any, path: Path, faults: Faults) -> Any:
    try:
        return make(value)
    except units.WrongType as wanted:
        return _wrong(faults, path, str(wanted), value)
    except ValueError as why:
        code = "UNSUPPORTED_VALUE" if isinstance(why, units.NotSupported) else "INVALID_VALUE"
        faults.append(Fault(path, code, f"{_field(path)} {_show(value)}: {why}"))


def one_of(words: tuple[str, ...]) -> Shape:
    """One of some words, in this spelling."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not str:
            return _wrong(faults, path, f"one of {', '.join(filter(None, words))}", value)
        if value not in words:
            faults.append(Fault(path, "INVALID_VALUE", f"{_field(path)} {_show(value)}: supported are {', '.join(filter(None, words))}"))
        return value

    return read


def list_of(item: Shape) -> Shape:
    """A list, as a tuple."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not list:
            return _wrong(faults, path, "a list", value)
        return faults.shared(tuple([item(one, (*path, index), faults) for index, one in enumerate(value)]))

    return read


def map_of(key_shape: Shape, item: Shape) -> Shape:
    """An object whose keys are data."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not dict:
            return _wrong(faults, path, "an object", value)
        before = len(faults)
        made = {}
        for key, one in value.items():
            here = (*path, key)
            keys_before = len(faults)
            name = key_shape(key, path, faults)
            faults[keys_before:] = [attrs.evolve(fault, path=here, at_key=True) for fault in faults[keys_before:]]
            made[name] = item(one, here, faults)
        return {} if _errors(faults, before) else made

    return read


def camel(name: str) -> str:
    """`per_try_timeout` as the YAML has it, `perTryTimeout`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _unknown_field(cls: type, known: tuple[str, ...]) -> Callable[[str, Path, Faults], None]:
    refused: frozenset[str] = getattr(cls, "REFUSED", frozenset())
    beside: frozenset[str] = getattr(cls, "BESIDE", frozenset())
    is_open: bool = getattr(cls, "OPEN", False)

    def unknown(key: str, path: Path, faults: Faults) -> None:
        if key in refused:
            faults.append(Fault((*path, key), "UNSUPPORTED_FIELD", f"the field {key} is not supported yet", at_key=True))
        elif not is_open and key not in beside:
            near = difflib.get_close_matches(key[:40], known, 1, 0.75) if len(faults) < MAX_FAULTS else []
            hint = f"; is it {near[0]}?" if near else f"; it has {_listed(known)}" if known else ""
            faults.append(Fault((*path, key), "UNKNOWN_FIELD", f"there is no field {shorten(key)} in {_field(path)}{hint}", at_key=True))

    return unknown


def _wrong(faults: Faults, path: Path, wanted: str, value: Any) -> None:
    quote = "; quote it" if wanted == "text" and isinstance(value, (int, float)) else ""
    each = "each of " if path and isinstance(path[-1], int) else ""
    faults.append(Fault(path, "WRONG_TYPE", f"{each}{_field(path)} must be {wanted}, not {_show(value)}{quote}"))


def _errors(faults: Faults, start: int) -> bool:
    return len(faults) > start and any(severity(fault.code) == "error" for fault in faults[start:])


def _field(path: Path) -> str:
    """The last named step of a path."""
    return next((shorten(step) for step in reversed(path) if isinstance(step, str)), "the document")


def _listed(names: tuple[str, ...]) -> str:
    """The first of some names."""
    return ", ".join((*names[:_SHOWN], "and others") if len(names) > _SHOWN else names)


def _show(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else shorten(repr(value))
