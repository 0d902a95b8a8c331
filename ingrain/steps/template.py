"""A command with tags in it: which it names, and the arguments that values make of it.

The command is a list of arguments from the beginning: no value is ever split, expanded or taken for another argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ingrain.steps.interpreters import runs_values
from ingrain.tags import canonical
from ingrain.text import harmless

_PLACEHOLDER = re.compile(r"\{\s*([^\s{}]+)\s*\}")


def named(argument: str) -> list[str]:
    """The tags that an argument names, as they are spelt there."""
    return _PLACEHOLDER.findall(argument)


def is_command(command: Sequence[str]) -> None:
    """Raise ValueError for a command that nothing can run, or of which a value could make another."""
    if any("\0" in argument for argument in command):
        raise ValueError("holds a NUL, which no argument can have")
    if not command[0] or named(command[0]):
        raise ValueError("the program, which comes first, may not depend on what a record says")
    if "/" in command[0] and not command[0].startswith("/"):
        raise ValueError("the program is named by its whole path, or by its name alone")
    program = runs_values(command, named)
    if program:
        raise ValueError(
            f"{program} could run a value as a command; let a script take it as an argument, in exactly this form: "
            """["sh", "-c", 'logger -- "$1"', "sh", "{ process }"], ["python3", "/FILE", "{ process }"], or a script """
            'of its own: ["/FILE", "{ process }"]'
        )


def only_program(command: Sequence[str]) -> list[str]:
    """What may be told of it: keys and passwords stand in arguments."""
    return [command[0], *(["..."] if len(command) > 1 else [])]


class Template:
    """`tags`: those that the command names. `options`: those with whose value an argument begins before any `--`.

    A value of those that begins with a dash would be an option to the program, and is for the caller to keep away.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self.tags = frozenset(canonical(tag) for argument in command for tag in named(argument))
        before = command[: command.index("--")] if "--" in command else command
        begun = (named(argument) for argument in before if _PLACEHOLDER.match(argument))
        self.options = frozenset(canonical(tag) for tags in begun for tag in tags)  # the first may be empty

    def fill(self, values: Mapping[str, str]) -> list[str]:
        """The program and its arguments with these values of `tags`; control characters in them as escapes."""
        return [_PLACEHOLDER.sub(lambda found: harmless(values[canonical(found[1])]), one) for one in self._command]
