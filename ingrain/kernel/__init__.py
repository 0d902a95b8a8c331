"""The only code that knows bpf(2) and perf: it loads and attaches probes, drains their buffers, reads their maps."""
