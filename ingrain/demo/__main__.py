"""`python -m ingrain.demo`: the agent's main job for real, held against what was done.

The network on this machine's kernel; files, containers and processes there too where it can be traced, else in a guest,
which boots meanwhile. Exit codes: 0 all columns are equal; 1 they differ, or something could not be shown.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from ingrain import doctor
from ingrain.demo import network, tracing
from ingrain.demo.agent import DemoError
from ingrain.demo.guest import Guest

_TRACEFS = Path("/sys/kernel/tracing/events")


def main() -> int:
    """Run the demo; its exit code."""
    traces = _TRACEFS.is_dir()
    host, found = doctor.examine((*network.PROBES, *tracing.PROBES) if traces else network.PROBES)
    print("What this machine can do:\n")
    print("\n".join(f"  {line}" for line in doctor.text(host, found).splitlines()), flush=True)
    able = {one.probe for one in found if one.runs}
    natively = able.issuperset(tracing.PROBES)
    try:
        with ExitStack() as stack:
            equal = True
            guest = None if natively else stack.enter_context(Guest())
            if able.intersection(network.PROBES):
                equal &= network.run(able)
            print(f"\nFiles, containers and processes, on {guest.name if guest else 'this kernel'}:", flush=True)
            equal &= guest.show() if guest else tracing.run()
            equal &= able.issuperset(network.PROBES)
    except DemoError as error:
        print(f"the demo failed: {error}")
        return 1
    print(
        "\nThe agent recorded exactly what was done."
        if equal
        else "\nWhat the agent recorded DIFFERS from what was done."
    )
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
