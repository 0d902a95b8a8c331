"""`ingrain`, and `python -m ingrain`: where the process begins."""

import sys

from ingrain import privileges, signals


def main() -> int:
    """Run the command line; its exit code. An agent has no more rights than it needs from here on."""
    if sys.argv[1:2] == ["run"]:
        signals.hold()
        privileges.drop()
    from ingrain import cli  # noqa: PLC0415 its imports take the time in which a signal may come

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
