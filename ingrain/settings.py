"""The base of every settings model. A model stands in the file of what it configures.

Types and bounds are checked by msgspec; what they cannot say, a model's `__post_init__` says with a ValueError whose
message names what is allowed; when it begins with `FIELD: `, it is told on that field's line. What one field alone can
tell may be a check of its own, `Annotated[str, Meta(extra={"check": function})]`, so that it is told beside the others.
"""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A table of the configuration file. Field names are the file's keys."""


Positive = Annotated[int, msgspec.Meta(ge=1)]
"""A whole number from 1."""
