"""The only code that knows bpf(2) and perf: loading probes, attaching them, draining their buffers, reading their maps."""
