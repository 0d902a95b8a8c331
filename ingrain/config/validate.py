"""A table of the file against its settings model, so that every mistake in it is found, not only the first.

msgspec checks types and bounds, but stops at the first mistake and knows no lines. So tables and lists are walked here,
msgspec judges each single value, and the models' own checks run last.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
import msgspec.inspect

from ingrain.config.positions import Path
from ingrain.config.problems import Problems, near, quoted, unknown_key
from ingrain.settings import Settings, checks, shown

S = TypeVar("S", bound=Settings)

_INTEGER_BITS = 64  # what TOML promises of an integer


def settings(model: type[S], table: dict[str, Any], path: Path, problems: Problems, tag: str | None = None) -> S | None:
    """The table at `path` as its model; None when there is a mistake in it, which `problems` then has.

    `tag` is a key that the table has beside the model's: the `type` or `backend` that chose the model.
    """
    before = len(problems.mistakes)
    fields = {field.encode_name: field for field in msgspec.structs.fields(model)}
    known = [*([tag] if tag else []), *fields]
    for key in table:
        if key not in known:
            problems.mistake((*path, key), unknown_key(key, known))
    unknown = len(problems.mistakes) - before
    for name, field in fields.items():
        if name in table:
            _value(field.type, table[name], (*path, name), problems)
        elif field.required:
            problems.mistake(path, f"{name} is missing; it takes {allowed(field.type)}")
    if len(problems.mistakes) > before + unknown:
        return None
    try:
        made = msgspec.convert({name: table[name] for name in fields if name in table}, model)
    except msgspec.ValidationError as error:
        problems.mistake_of(path, fields, str(error.__cause__ or error))
        return None
    return None if unknown else made


def allowed(kind: Any) -> str:
    """What a value of this type may be, for an operator to read."""
    return _words(msgspec.inspect.type_info(kind))


def _value(kind: Any, value: Any, path: Path, problems: Problems, *, secret: bool = False) -> None:
    """Find what is wrong with one value. secret: it may be one, so it is not told."""
    bare, secret = _bare(kind), secret or shown(kind) is not None
    if isinstance(bare, type) and issubclass(bare, Settings) and isinstance(value, dict):
        settings(bare, value, path, problems)
        return
    if isinstance(value, (list, dict)) and get_origin(bare) is type(value):
        before = len(problems.mistakes)
        for at, item in value.items() if isinstance(value, dict) else enumerate(value):
            _value(get_args(bare)[-1], item, (*path, at), problems, secret=secret)
        if len(problems.mistakes) > before:
            return
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:  # such a one Python may refuse to write out
        problems.mistake(path, f"expected {allowed(kind)}, found a number of more than {_INTEGER_BITS} bits")
        return
    try:
        msgspec.convert(value, kind)
        for check in checks(kind):
            check(value)
    except msgspec.ValidationError:
        found = "" if secret else f", found {_found(value)}.{_near(kind, value)}".removesuffix(".")
        problems.mistake(path, f"expected {allowed(kind)}{found}")
    except ValueError as error:
        problems.mistake(path, str(error))


def _bare(kind: Any) -> Any:
    """The type without its bounds and without `| None`: TOML has no null."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType):
            members = [member for member in get_args(kind) if member is not types.NoneType]
            if len(members) != 1:
                return kind
            kind = members[0]
        else:
            return kind


def _near(kind: Any, value: Any) -> str:
    info = msgspec.inspect.type_info(_bare(kind))
    if not isinstance(value, str) or not isinstance(info, msgspec.inspect.LiteralType):
        return ""
    return near(value, [str(one) for one in info.values])


def _words(info: msgspec.inspect.Type) -> str:  # noqa: PLR0911, C901 - one return for each kind of type
    match info:
        case msgspec.inspect.Metadata():
            return _words(info.type)
        case msgspec.inspect.UnionType():
            return " or ".join(_words(one) for one in info.types if not isinstance(one, msgspec.inspect.NoneType))
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType():
            return f"a whole number{_bounds(info)}"
        case msgspec.inspect.FloatType():
            return f"a number{_bounds(info)}"
        case msgspec.inspect.StrType():
            return f"text{' that is not empty' if info.min_length else ''}{_pattern(info)}"
        case msgspec.inspect.LiteralType():
            return f"one of {', '.join(_found(one) for one in info.values)}"
        case msgspec.inspect.ListType():
            return f"a list{' that is not empty' if info.min_length else ''}, each item {_words(info.item_type)}"
        case msgspec.inspect.DictType():
            return f"a table, each value {_words(info.value_type)}"
        case msgspec.inspect.StructType():
            return f"a table with {', '.join(field.encode_name for field in info.fields)}"
        case _:
            return type(info).__name__.removesuffix("Type").lower()


def _bounds(info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    parts = [("from", info.ge), ("above", info.gt), ("to", info.le), ("below", info.lt)]
    return "".join(f" {word} {bound}" for word, bound in parts if bound is not None)


def _pattern(info: msgspec.inspect.StrType) -> str:
    parts = [f" of at most {info.max_length} characters"] if info.max_length is not None else []
    return "".join([*parts, f" that matches {info.pattern}" if info.pattern else ""])


def _found(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case int() | float():
            return quoted(str(value)).strip('"')
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"
