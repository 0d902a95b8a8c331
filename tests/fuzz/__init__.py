"""Fuzzing: whatever bytes come from a packet, a process, a file or a server, the promises of what reads them hold.

`targets` lists what is fuzzed, `run` does it with coverage as a guide, `test_fuzz` does a bounded share of it.
"""
