"""Probes without a kernel half: what they tell comes from elsewhere, by a thread of their own. One file each."""
