"""`ingrain`, and `python -m ingrain`: where the process begins."""

import signal
import sys

from ingrain import privileges

ENDING = (signal.SIGINT, signal.SIGTERM)
RELOADING = signal.SIGHUP


def main() -> int:
    """Run the command line; its exit code. An agent has no more rights than it needs from here on.

    Signals that end or change a run wait until it asks for them: also those that come while the agent is still being
    built, and in all its threads, which inherit this. Python's own handlers would run between any two instructions.
    """
    if sys.argv[1:2] == ["run"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, RELOADING))
        privileges.drop()
    from ingrain import cli  # noqa: PLC0415 its imports take the time in which a signal may come

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
