"""Grains: the user half of each probe, from raw structs to batches. One file each; this is the list of what exists."""

GRAINS: dict[str, str] = {
    "DNS": "ingrain.grains.dns:DNS",
    "TLS": "ingrain.grains.tls:TLS",
    "Network": "ingrain.grains.network:Network",
    "Process": "ingrain.grains.process:Process",
    "Container": "ingrain.grains.container:Container",
    "Files": "ingrain.grains.files:Files",
    "Syscall": "ingrain.grains.syscall:Syscall",
}
"""`type` in the file -> where its class is; imported when a probe of the configuration is one."""

OLDER = {"TCP4": "ingrain.grains.network:TCP4", "UDP": "ingrain.grains.network:UDP"}
"""Those of ingraind's first versions, for its files: of what Network sees, each a part."""

OWN = {
    "Agent": "ingrain.telemetry:Telemetry",
    "StatsD": "ingrain.own.statsd:StatsD",
    "Osquery": "ingrain.own.osquery:Osquery",
    "Test": "ingrain.own.trial:Trial",
}
"""Those without a kernel half: what they tell is the agent's own account, or comes from elsewhere."""
