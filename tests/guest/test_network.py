"""What the native tests promise of the network probes, on every kernel: the very same tests.

Chosen so that every promise is there once or twice: an emulated processor takes twenty times as long, and of the
parametrised ones some values will do. Left out are those that send 131,072 datagrams (uncounted flows), long streams,
or 25 MB through a lossy device (retransmissions): minutes of emulation for a count that no kernel does differently; and
those of programs that look at captures (Suricata, tshark), which never see the kernel. `make test` has the same tests
on this machine's own kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import test_accepted
import test_attribution
import test_handshake
import test_hiding
import test_live_streams
from test_accepted import (
    test_a_connection_is_told_once_also_where_nobody_knows_who_accepted_it,
    test_a_datagram_is_of_who_sends_it_by_the_name_and_user_that_it_has_then,
)
from test_attribution import (
    talkers,
    test_a_burst_that_overflows_the_buffer_is_accounted_for_to_the_event,
    test_processes_outside_the_cgroup_are_not_seen,
    test_tcp_bytes_of_new_sockets_are_those_that_were_sent,
    test_tcp_sockets_opened_before_the_agent_have_their_owner_and_their_bytes_since,
)
from test_hiding import (
    do,
    test_a_socket_that_connects_again_begins_another_connection,
    test_a_socket_that_listens_after_it_tried_to_connect_takes_connections,
    test_a_udp_socket_that_several_addresses_reach_tells_them_apart,
    test_queries_that_are_sent_at_once_are_seen_one_by_one,
    test_tcp_that_a_process_writes_itself_is_told_by_its_peers,
)
from test_live_streams import (
    place,
    test_dns_over_tcp_has_its_process,
)
from test_replay import (
    test_a_conversation_is_told_with_its_own_times_and_without_what_only_sockets_know,
)
from test_translated import (
    test_an_answer_has_its_query_where_the_servers_address_is_translated,
    translated,
)

pytestmark = pytest.mark.matrix

Test = Callable[..., None]


def only(test: Test, names: str, *values: Any) -> Test:
    """The same test with some of its parameters' values."""

    @functools.wraps(test)
    def same(**arguments: Any) -> None:
        test(**arguments)

    same.pytestmark = [pytest.mark.parametrize(names, values).mark]  # type: ignore[attr-defined]
    return same


test_udp_datagrams_are_told_by_process_and_peer = only(
    test_attribution.test_udp_datagrams_are_told_by_process_and_peer, "opened, family", ("before", 6), ("after", 4)
)
test_a_connection_that_a_forked_child_accepts_is_the_childs = only(
    test_accepted.test_a_connection_that_a_forked_child_accepts_is_the_childs,
    "family, behaves",
    ("4", "answers"),
    ("6", "silent"),
)
test_a_connection_over_which_nothing_goes_is_told_while_it_is_open = only(
    test_accepted.test_a_connection_over_which_nothing_goes_is_told_while_it_is_open,
    "address",
    "127.0.0.1",
    "::ffff:127.0.0.1",
)
test_dns_whose_first_bytes_come_with_the_handshake_is_told = only(
    test_handshake.test_dns_whose_first_bytes_come_with_the_handshake_is_told,
    "way, sizes",
    ("deferred", [0, 20]),
    ("fast open", [0]),
)
test_a_hello_whose_first_bytes_come_with_the_handshake_is_told = only(
    test_handshake.test_a_hello_whose_first_bytes_come_with_the_handshake_is_told,
    "way, sizes",
    ("deferred", [0, 20]),
    ("fast open", [0, 7, 30]),
)
test_an_odd_query_that_a_server_may_answer_is_seen = only(
    test_hiding.test_an_odd_query_that_a_server_may_answer_is_seen,
    "query",
    pytest.param("message(0x0101, (1, 0, 0, 0))", id="response code"),
)
test_a_long_hello_is_one_record_with_its_process = only(
    test_live_streams.test_a_long_hello_is_one_record_with_its_process, "size, delay", (300, 0)
)
