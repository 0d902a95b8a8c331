"""What was done and what was recorded, in one form, so that they can be printed side by side."""

from __future__ import annotations

from collections import Counter

Deeds = Counter[tuple[str, str]]
"""`(who, what) -> how much`."""


def show(did: Deeds, recorded: Deeds) -> bool:
    """Both columns, a line each of who did what; whether they are equal."""
    keys = sorted({*did, *recorded})
    wide = max((len(what) for _who, what in keys), default=0)
    print(f"\n  {'who':<18} {'what':<{wide}} {'did':>12} {'recorded':>12}")
    for who, what in keys:
        one, other = did[who, what], recorded[who, what]
        mark = "" if one == other else "   <- differs"
        print(f"  {who:<18} {what:<{wide}} {one:>12,} {other:>12,}{mark}")
    return did == recorded
