"""Steps: what a pipeline does to its batches on their way. One file each; this is the list of what exists."""

STEPS = {
    "Whitelist": "ingrain.steps.whitelist:Whitelist",
    "Regex": "ingrain.steps.regex:Regex",
    "Buffer": "ingrain.steps.buffer:Buffer",
}
"""`type` in the file -> where its class is; imported when a pipeline uses it."""

LATER = ("AddSystemDetails", "Container", "Exec")
"""ingraind's steps that this build does not have."""
