"""ingrain: a security-telemetry agent whose data stays columnar from the kernel's buffer to the backend."""

__version__ = "0.1.0"
