"""Backends: where pipelines end. One file each; this is the list of what exists."""

BACKENDS = {
    "Console": "ingrain.backends.console:Console",
    "StatsD": "ingrain.backends.statsd:StatsD",
    "S3": "ingrain.backends.s3:S3",
    "Archive": "ingrain.backends.archive:Archive",
    "HTTP": "ingrain.backends.http:HTTP",
}
"""`backend` in the file -> where its class is; imported when a pipeline uses it."""
