"""What the environment gives to a configuration: `${NAME}` in a text is what it has under NAME, and may be a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_WORD = 4  # what is shorter is no secret
_BETWEEN_WORDS = re.compile(r"[\s,;:=&/?#\"']+")


def unset(text: str) -> list[str]:
    """The variables that the text names, and that have no value."""
    return [name for name in VARIABLE.findall(text) if not _value(name)]


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()  # secrets in files end with a line end


class Environment:
    """Fills in texts. `values`: all that was filled in."""

    def __init__(self) -> None:
        self.values: list[str] = []

    def filled(self, text: str) -> str:
        """With the environment's values. Raises ValueError where one is missing; none is told."""
        missing = unset(text)
        if missing:
            raise ValueError(f"needs {missing[0]} of the environment, which is not set")
        self.values += map(_value, VARIABLE.findall(text))
        return VARIABLE.sub(lambda found: _value(found[1]), text)


class Redaction:
    """Leaves secrets out of what is told: each of them as it is and percent-decoded, and each word of it.

    A word has `least` characters at the least.
    """

    def __init__(self, secrets: Iterable[str], least: int = _WORD) -> None:
        words: set[str] = set()
        for secret in secrets:
            for form in (secret, unquote(secret)):
                words.update((form, *_BETWEEN_WORDS.split(form)))
        words |= {repr(word)[1:-1] for word in words}  # as some exceptions quote what a server said
        self.words = sorted((word for word in words if len(word) >= least), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without them."""
        for word in self.words:
            text = text.replace(word, "[...]")
        return text

    @property
    def longest(self) -> int:
        """How many characters the longest of them has, 1 at the least."""
        return max(map(len, self.words), default=1)
