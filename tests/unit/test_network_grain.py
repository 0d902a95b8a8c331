"""Network: what the kernel half hands over, as connections."""

from __future__ import annotations

import numpy as np
from packets import IN, OUT, drained, rows

from ingrain.grains.network import Network
from ingrain.kernel.records import Drained


def test_connections_are_told_by_the_side_that_began_them_and_what_has_none_is_malformed() -> None:
    sides = [OUT, IN, 2, 200]
    flows = np.ascontiguousarray(drained("dns", [b""] * 4, *({"direction": side} for side in sides)).events["flow"])
    grain = Network()
    told = rows(*grain.decode(Drained(flows)))
    assert [row["measurement"] for row in told] == ["connection.out", "connection.in"]
    assert [row["direction"] for row in told] == ["out", "in"]
    assert grain.malformed == 2
