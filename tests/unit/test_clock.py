"""From the kernel's clock to UTC."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ingrain.kernel.clock import Utc

MOMENT = np.array([1_000_000_000], np.uint64)


def test_the_same_moment_has_the_same_name_each_time() -> None:
    utc = Utc()
    assert len({int(utc(MOMENT)[0]) for _ in range(10_000)}) == 1


def test_now_is_what_the_system_says() -> None:
    utc = Utc()
    before = time.time_ns()
    now = int(utc(np.array([time.monotonic_ns()], np.uint64))[0])
    assert before - 1_000_000 <= now <= time.time_ns() + 1_000_000


@pytest.mark.parametrize("step", [-3_600_000_000_000, -1_000_000, 1_000_000, 3_600_000_000_000])
def test_a_clock_that_is_set_is_followed(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    utc, real = Utc(), time.time_ns
    was = int(utc(MOMENT)[0])
    monkeypatch.setattr(time, "time_ns", lambda: real() + step)
    followed = min(abs(int(utc(MOMENT)[0]) - was - step) for _ in range(100))
    assert followed < 100_000


def test_a_reading_in_which_the_thread_had_to_wait_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    utc, real = Utc(), time.time_ns
    was = int(utc(MOMENT)[0])

    def late() -> int:
        now = real() + 1_000_000_000  # UTC was set, and this thread had to wait in the first reading after that
        if not waited:
            waited.append(True)
            time.sleep(0.02)
        return now

    waited: list[bool] = []
    monkeypatch.setattr(time, "time_ns", late)
    assert abs(int(utc(MOMENT)[0]) - was - 1_000_000_000) < 100_000
