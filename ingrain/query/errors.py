"""What goes wrong with a question, in words for who asked it."""


class QueryError(Exception):
    """The question cannot be answered; the message says why, and what to do."""


class UsageError(QueryError):
    """The question is none: what was said, not what is there, has to be another."""
