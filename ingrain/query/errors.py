"""What goes wrong with a question, in words for who asked it."""


class QueryError(Exception):
    """The question cannot be answered; the message says why, and what to do."""


class UsageError(QueryError):
    """The question is none: what was said, not what is there, has to be another."""


class UnreadableError(QueryError):
    """There are objects that the question needs, and none of them can be read. objects: their keys."""

    def __init__(self, message: str, objects: frozenset[str]) -> None:
        super().__init__(message)
        self.objects = objects
