"""Taking the agent down part by part: what goes wrong with one part keeps no other from ending in order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def attempt(what: str, step: Callable[[], Result]) -> Result | None:
    """Take one step of the way down; what it returns. None where it failed, which is logged as `what`."""
    try:
        return step()
    except BaseException:  # the edge between the parts; what a library's panic raises is no Exception
        log.exception("%s failed; the other parts end in order", what)
        return None
