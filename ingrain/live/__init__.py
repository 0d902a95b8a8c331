"""Records as they are made, to whoever watches a running agent. One way, bounded, and nothing waits for a watcher."""
