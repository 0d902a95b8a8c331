"""What is not installed by default, and how to get it: the extras `query` and `top` of the package."""

from __future__ import annotations


def missing(package: str, extra: str) -> str:
    """What to do where a command needs a package of an extra. Only our own wheel will do: no index has this agent."""
    return (
        f"{package} is not installed. Install ingrain with its extra `{extra}`, from the wheel "
        f"(pip install './ingrain-VERSION-PLATFORM.whl[{extra}]') or a checkout (pip install '.[{extra}]'), or use "
        "dist/ingrain, which includes it"
    )
