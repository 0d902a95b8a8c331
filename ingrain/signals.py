"""The signals that an agent waits for."""

import signal

ENDING = (signal.SIGINT, signal.SIGTERM)
RELOADING = signal.SIGHUP


def hold() -> None:
    """Have them wait until somebody asks for them, in this thread and those that it begins.

    Also those that come while the agent is still being built: Python's own handlers would run between any two
    instructions.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, RELOADING))
