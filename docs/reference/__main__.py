"""`make docs`: write the parts of README.md and docs/ that are made from the code."""

from __future__ import annotations

from reference import ROOT, pages

if __name__ == "__main__":
    for page, text in pages().items():
        (ROOT / page).write_text(text)
