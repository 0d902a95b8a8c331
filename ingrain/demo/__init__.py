"""The demo: real programs work in a cgroup of their own, and what they did is held against what the agent saw."""
