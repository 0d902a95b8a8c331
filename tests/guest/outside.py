"""The half of the plugin that works on the host: boots a guest for each kernel, and replays what its pytest tells.

A test of which its guest does not tell is a failure, with the end of the guest's console.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from guest import compiled
from guest.boot import SHARED, Guest, GuestError, boot
from guest.inside import RESULTS, SELECTED
from guest.kernels import NATIVE
from guest.results import Lines, Report, Results

KERNEL, FOLDER = "INGRAIN_GUEST_KERNEL", "INGRAIN_GUEST_FOLDER"
"""Variables of the environment that tell a pytest that it is inside: of which kernel, and what is shared."""
LOADER = "INGRAIN_TEST_LOADER"
"""The one that tells what agents load, where a test does not say."""

BOOT_S = 900.0
"""How long a guest may take until its pytest has begun: some 40 s where the machine is its own, minutes on a busy one.
A kernel that panics ends at once; this is for one that says nothing."""
TEST_S = 300.0
"""How long a test may take in a guest that sets no limit of its own (`pytest.mark.timeout`)."""
GRACE_S = 60.0
"""What a guest has beyond a test's limit to tell that it was reached."""

_limit = pytest.StashKey[float]()


def kernel_of(item: pytest.Item) -> str | None:
    """The kernel that a test is to run on; None where it is no test of a guest."""
    parameters = getattr(item, "callspec", None)
    name = parameters.params.get("kernel") if parameters and "guest" in item.path.parent.parts else None
    return None if name == NATIVE else name


class Lost(Exception):  # noqa: N818 it is a guest that is lost, and what the tests' failures say
    """A guest is of no use any more; the message says why."""


class Session:
    """A guest that runs all selected tests of one kernel. limits: of each test, by its node id."""

    def __init__(self, guest: Guest, limits: Mapping[str, float]) -> None:
        self._guest = guest
        self._limits = limits
        self._results = Results()
        self._lines = Lines(guest.shared / RESULTS)
        self._heard = time.monotonic()
        self._lost = ""

    def reports(self, nodeid: str) -> Iterator[Report]:
        """Of a test, as they come. Raises Lost where not all will."""
        while True:
            dead = self._guest.ended is not None  # what is read after this is all there will be
            if messages := self._lines.read():
                self._heard = time.monotonic()
            for message in messages:
                self._results.add(message)
            yield from self._results.take(nodeid)
            if self._results.finished(nodeid):
                return
            self._check(nodeid, dead=dead)
            time.sleep(0.1)

    def _check(self, nodeid: str, *, dead: bool) -> None:
        """Is there hope for this test?"""
        silent = time.monotonic() - self._heard
        if not self._lost:
            if self._results.ended:
                why = self._results.uncollected(nodeid) or "it was not among those that were collected there"
                raise Lost(f"the guest ran its tests and not this one: {why}")
            if dead:
                state = f"died with {self._guest.ended}" if self._results.kernel else "did not boot"
                self._lost = f"the guest {state}"
            elif not self._results.kernel and silent > BOOT_S:
                self._lost = f"the guest did not boot within {BOOT_S:.0f} s"
            elif self._results.kernel and silent > self._limits[nodeid] + GRACE_S:
                self._lost = f"the guest hangs: nothing was heard of it for {silent:.0f} s, during {nodeid}"
            else:
                return
        raise Lost(f"{self._lost}\n\nThe last lines of its console:\n{self._guest.last_lines()}")

    def end(self, seconds: float) -> None:
        """Give it time to power off by itself, then turn it off."""
        if not self._lost:
            self._guest.wait(seconds)
        self._guest.end()


class Outside:
    """Registered on the host. start: makes a guest, as boot() does.

    A guest keeps one processor busy: that of the first kernel runs while this machine's own tests do, and from then on
    always that of the next kernel beside the one of which is told.
    """

    def __init__(self, config: pytest.Config, start: Callable[..., Guest] = boot) -> None:
        self._config = config
        self._start = start
        self._kernels: list[str] = []  # of which nothing was told so far
        self._at = ""
        self._sessions: dict[str, Session] = {}
        self._trouble: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The limits of guests' tests are kept in the guest, not here."""
        for item in items:
            if kernel_of(item) is not None:
                own = item.get_closest_marker("timeout")
                item.stash[_limit] = float(own.args[0]) if own and own.args else TEST_S
                item.add_marker(pytest.mark.timeout(0), append=False)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Guests' tests come behind this machine's own, kernel by kernel, in whatever order they were put (`--ff`).

        Behind them come those that are `loud`: a guest beside them would get no processor.
        """
        self._kernels = list(dict.fromkeys(filter(None, map(kernel_of, session.items))))
        order = {kernel: at for at, kernel in enumerate([None, *self._kernels])}
        session.items.sort(key=lambda item: (item.get_closest_marker("loud") is not None, order[kernel_of(item)]))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin with the first kernel, if tests are run at all."""
        if not self._config.option.collectonly and (
            not session.testsfailed or self._config.option.continue_on_collection_errors
        ):
            self._enter(self._kernels[:1], session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Replay what the guest tells of a test."""
        kernel = kernel_of(item)
        if kernel is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(kernel, item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """No guest outlives the run."""
        ran = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self._leave(30 if ran and not session.shouldfail and not session.shouldstop else 0)

    def pytest_unconfigure(self) -> None:
        """Nor an interrupted one."""
        self._leave(0)

    def _reports(self, kernel: str, item: pytest.Item) -> Iterator[pytest.TestReport]:
        if kernel != self._at:
            self._leave(30, self._at)
            self._at = kernel
            self._kernels.remove(kernel)
            self._enter([kernel, *self._kernels[:1]], item.session)
        if kernel in self._trouble:
            yield failure(item, self._trouble[kernel])
            return
        try:
            for report in self._sessions[kernel].reports(item.nodeid):
                yield self._config.hook.pytest_report_from_serializable(config=self._config, data=report)
        except Lost as lost:
            yield failure(item, str(lost))

    def _enter(self, names: Iterable[str], session: pytest.Session) -> None:
        """Boot guests with these kernels, where there are none yet."""
        for kernel in names:
            if kernel not in self._sessions and kernel not in self._trouble:
                try:
                    self._sessions[kernel] = self._begin(kernel, session)
                except GuestError as error:
                    self._trouble[kernel] = str(error)

    def _begin(self, kernel: str, session: pytest.Session) -> Session:
        limits = {item.nodeid: item.stash[_limit] for item in session.items if kernel_of(item) == kernel}
        said = self._config.option
        options = [f"--tb={said.tbstyle}", *["-v"] * max(said.verbose, 0), *["--showlocals"] * said.showlocals]
        options += ["--whole"] * self._config.getoption("whole", default=False)
        files = sorted({nodeid.partition("::")[0] for nodeid in limits})
        command = ["python", "-m", "pytest", "-p", "no:cacheprovider", f"--timeout={TEST_S:.0f}", *options, *files]
        environment = {
            KERNEL: kernel,
            FOLDER: str(SHARED),
            LOADER: os.environ[LOADER],
            "CACHE_DIRECTORY": str(compiled.CACHE),
        }
        return Session(self._start(kernel, command, environment, {SELECTED: json.dumps([*limits])}), limits)

    def _leave(self, seconds: float, *names: str) -> None:
        """Turn guests off: these, or all."""
        for kernel in names or tuple(self._sessions):
            if session := self._sessions.pop(kernel, None):
                session.end(seconds)


def failure(item: pytest.Item, why: str) -> pytest.TestReport:
    """A report of a test of which its guest does not tell."""
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords={}, outcome="failed", longrepr=why, when="call"
    )
