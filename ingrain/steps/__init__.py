"""Steps: what a pipeline does to its batches on their way. One file each; this is the list of what exists."""

STEPS = {
    "Whitelist": "ingrain.steps.whitelist:Whitelist",
    "Regex": "ingrain.steps.regex:Regex",
    "Buffer": "ingrain.steps.buffer:Buffer",
    "AddSystemDetails": "ingrain.steps.system_details:AddSystemDetails",
    "Container": "ingrain.steps.container:Container",
    "Exec": "ingrain.steps.exec:Exec",
}
"""`type` in the file -> where its class is; imported when a pipeline uses it."""
