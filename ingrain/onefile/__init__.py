"""One file to install: an interpreter, and behind it an archive of the agent and of all that it needs.

`python -m ingrain.onefile` builds it (`make dist`). Of what is here only `start` is in the file itself.
"""
