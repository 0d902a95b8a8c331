"""What was done and what was seen, in one form, so that they can stand side by side."""

from __future__ import annotations

from collections import Counter

Deeds = Counter[tuple[str, str]]
"""`(who, what) -> how much`."""


def show(did: Deeds, saw: Deeds) -> bool:
    """Both columns, a line each of who did what; whether they are equal."""
    print(f"\n  {'who':<18} {'what':<58} {'did':>12} {'saw':>12}")
    for who, what in sorted({*did, *saw}):
        one, other = did[who, what], saw[who, what]
        mark = "" if one == other else "   <- differs"
        print(f"  {who:<18} {what:<58} {one:>12,} {other:>12,}{mark}")
    return did == saw
