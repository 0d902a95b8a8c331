"""Who accepts a connection is known where the kernel lets that be traced, whatever accept(2) is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Start, Watch
from test_accepted import run

from ingrain.owners import load_owners, trace_accepts


def test_a_connection_is_the_childs_that_accepted_it_also_where_nobody_is_asked_for_an_address(
    watch: Callable[..., Watch], start: Start, kernel: str
) -> None:
    with load_owners() as owners:
        accepts = trace_accepts(owners)
        if accepts:
            accepts.close()
        elif kernel == "5.10":
            pytest.skip("Linux 5.10 lets no program that traces note anything on a socket")
    assert accepts
    watched = watch("Network")
    with watched():
        child, port = run(start, "4", "answers", "no address")
    (told,) = watched.rows("connection.in")
    assert (told["process"], told["process_id"], told["d_port"]) == ("the child", child, port)
