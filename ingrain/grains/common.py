"""The columns that every network record has, decoded from the fields that every network event struct has.

In the kernel these are `struct owner` and `struct flow` (`probes/flow.h`); here they become tags, each distinct name and
address decoded once.
"""

from __future__ import annotations

import pyarrow as pa

from ingrain.batch import TEXT, Column

COMMON = (
    Column("process", TEXT, "name of the process that owns the socket (the kernel's comm, 15 bytes)"),
    Column("process_id", pa.uint32(), "its process id, as the host counts"),
    Column("uid", pa.uint32(), "its user id"),
    Column("cgroup_id", pa.uint64(), "id of the socket's cgroup v2, so of its container"),
    Column("s_ip", TEXT, "address the packets come from"),
    Column("s_port", pa.uint16(), "port they come from"),
    Column("d_ip", TEXT, "address they go to"),
    Column("d_port", pa.uint16(), "port they go to"),
    Column("proto", TEXT, "tcp or udp"),
    Column("direction", TEXT, "out: the process sent it; in: the process received it"),
)
