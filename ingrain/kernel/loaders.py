"""Which object of a probe is loaded: the one that was compiled for every kernel (`core`), or one made here (`bcc`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.symbols import has_btf

log = logging.getLogger(__name__)

T = TypeVar("T")

Loader: TypeAlias = Literal["auto", "core", "bcc"]
"""What the configuration says; `auto` is `core` where the kernel has BTF, else `bcc`."""


def by_trial(wanted: Loader, attempt: Callable[[Loader], T]) -> T:
    """What `attempt` gives for the loader that is wanted. Raises its KernelError.

    Programs for packets alone need no BTF (replay): where there is none, and BCC cannot be used, `core` is tried, too.
    """
    first, *others = _order(wanted)
    try:
        return attempt(first)
    except KernelError as failure:
        for loader in others:
            try:
                return attempt(loader)
            except KernelError as error:
                log.debug("nor by %s: %s", loader, error)
        raise failure from None


def why(wanted: Loader, loader: Loader) -> str:
    """Why it is this loader, for an operator to read."""
    if wanted != "auto":
        return "as asked for"
    if has_btf():
        return "this kernel has BTF"
    return "this kernel has no BTF" if loader == "bcc" else "this probe needs no BTF, and BCC cannot be used"


def _order(wanted: Loader) -> tuple[Loader, ...]:
    if wanted != "auto":
        return (wanted,)
    return ("core",) if has_btf() else ("bcc", "core")
