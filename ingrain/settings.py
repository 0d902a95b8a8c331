"""The base of every settings model. A model stands in the file of what it configures.

Types and bounds are checked by msgspec; what they cannot say of one field, its check says,
`Annotated[str, Meta(extra={"check": function})]`, and what concerns several, the model's own `__post_init__`: with a
ValueError whose message names what is allowed; when that begins with `FIELD: `, it is told on that field's line.

What may be a secret is never told as it stands: `Meta(extra={"shown": function})` says what is told instead of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin, get_type_hints

import msgspec

Check = Callable[[Any], None]
"""Raises ValueError for a value that a field may not have; the message says what is allowed."""


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A table of the configuration file. Field names are the file's keys."""

    def __post_init__(self) -> None:
        """Raise ValueError where a field does not pass its own check."""
        for name, check in _checks_of(type(self)):
            value = getattr(self, name)
            if value is not None:
                try:
                    check(value)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error

    def lacking(self) -> list[str]:
        """What this needs of the host that it is to run on, and does not find: each as `__post_init__` would say it.

        It only looks: nothing is made or kept open, and nobody is asked over the network.
        """
        return []

    def of_pipeline(self, name: str) -> Self:
        """As they stand for a backend of the pipeline of this name. Raises ValueError as `__post_init__` does."""
        del name
        return self


def checks(kind: Any) -> list[Check]:
    """A field's own checks: `Annotated[..., Meta(extra={"check": function})]`."""
    return _extra(kind, "check")


def shown(kind: Any) -> Callable[[Any], Any] | None:
    """What to tell of a field that may hold a secret: `Annotated[..., Meta(extra={"shown": function})]`."""
    return next(iter(_extra(kind, "shown")), None)


def _extra(kind: Any, key: str) -> list[Any]:
    """Also what a member of a union says: `Annotated[...] | None`."""
    if get_origin(kind) in (Union, UnionType):
        return [one for member in get_args(kind) for one in _extra(member, key)]
    if get_origin(kind) is not Annotated:
        return []
    metas = (meta for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta))
    return [meta.extra[key] for meta in metas if meta.extra and key in meta.extra]


@cache
def _checks_of(model: type[Settings]) -> list[tuple[str, Check]]:
    hints = get_type_hints(model, include_extras=True)
    return [(name, check) for name, kind in hints.items() for check in checks(kind)]


Positive = Annotated[int, msgspec.Meta(ge=1)]
"""A whole number from 1."""


def is_absolute(path: str) -> None:
    """Raise ValueError for what names nothing, or something else in another working directory."""
    if not path.startswith("/") or "\0" in path:
        raise ValueError("expected a path, from / on")
