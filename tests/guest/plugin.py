"""The pytest plugin of guests' tests: `--kernels`, `--loader`, who runs which test where, and the table at the end.

Every test below tests/guest has a parameter `kernel`. On the host, those of `native` run as any other, and the rest in
guests (outside.py); in a guest, this same plugin tells the host what becomes of them (inside.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from guest import kernels
from guest.inside import Inside
from guest.outside import FOLDER, KERNEL, LOADER, Outside
from guest.table import answers, table
from ingrain.kernel.loaders import Loader

_names = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kernels` and `--loader`."""
    group = parser.getgroup("guests")
    group.addoption(
        "--loader",
        default="auto",
        choices=get_args(Loader),
        help="which object of each probe is loaded where the test does not say; for all tests, natively too",
    )
    group.addoption(
        "--kernels",
        metavar="6.1,7.2",
        help="kernels that the tests below tests/guest run on, or `all`; by default the distribution's own. "
        "`native` is this machine's, without a guest.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Inside, or outside."""
    os.environ.setdefault(LOADER, config.option.loader)
    if KERNEL in os.environ:
        config.stash[_names] = [os.environ[KERNEL]]
        config.pluginmanager.register(Inside(config, Path(os.environ[FOLDER])))
        return
    config.pluginmanager.register(Outside(config))
    if config.option.kernels:
        try:
            names(config)
        except kernels.KernelsError as error:
            raise pytest.UsageError(str(error)) from error


def names(config: pytest.Config) -> list[str]:
    """The kernels of this run; looked up when the first test needs them."""
    if _names not in config.stash:
        there = [kernels.cached(suite) for suite in kernels.SUITES]
        config.stash[_names] = kernels.select(config.option.kernels, there, kernels.own_suite())
    return config.stash[_names]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, where a doctor was asked."""
    reports = [report for state in terminalreporter.stats.values() for report in state]
    properties = [entry for report in reports for entry in getattr(report, "user_properties", ())]
    if found := dict(answers(properties)):
        terminalreporter.section("kernels and probes")
        for line in table(found.items()):
            terminalreporter.write_line(line)
