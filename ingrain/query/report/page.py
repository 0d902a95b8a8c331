"""The page: one HTML file that fetches nothing, runs nothing but its own script, and holds its figures as JSON.

Its policy (Content Security Policy, Level 3) allows one style and one script, by their hashes, and no address at
all: what somebody called a process could not do anything even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ingrain import __version__
from ingrain.query.report.alerts import alerts
from ingrain.query.report.figures import Answered, Answers, Section
from ingrain.query.report.look import SCRIPT, STYLE
from ingrain.query.report.span import Span
from ingrain.query.report.tiles import tiles
from ingrain.query.report.units import escaped, length, moment, number


def page(place: str, span: Span, made: datetime, sections: Sequence[Section], answers: Answers) -> str:
    """The whole of it. place: how the archive is called to people. made: when."""
    links = "".join(f'<a href="#{one.name}">{escaped(one.title)}</a>' for one in sections)
    body = "".join(_section(one, span, answers[one.name]) for one in sections)
    when = f"{moment(span.since)} to {moment(span.until)} UTC ({length(span.until - span.since)})"
    baseline = f"the {length(span.baseline)} before" if span.baseline else "none"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>ingrain: {escaped(place)}, {moment(span.since)[:10]}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Activity report</h1>
<p class="about"><b>{escaped(place)}</b> · {when} · baseline: {baseline} · all times are UTC</p>
</header>
{alerts(span, answers)}
{tiles(sections, answers)}
<nav aria-label="sections">{links}</nav>
<main>{body}</main>
<footer>Made by ingrain {escaped(__version__)} at {moment(made)} UTC. Tables and plots show the top entries, and say of
how many. All figures are in this file as JSON, in the element <code>figures</code>.</footer>
<div id="tip" hidden></div>
<script type="application/json" id="figures">{_json(document(place, span, made, sections, answers))}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def document(place: str, span: Span, made: datetime, sections: Sequence[Section], answers: Answers) -> dict[str, Any]:
    """What is drawn, for programs: sections, figures, their rows; times in ISO 8601, UTC, lengths in seconds."""
    return {
        "archive": place,
        "since": span.since.isoformat(),
        "until": span.until.isoformat(),
        "made": made.isoformat(),
        "first_bucket": span.first.isoformat(),
        "bucket_s": span.step.total_seconds(),
        "strip_s": span.strip.total_seconds(),
        "fine_s": span.fine.total_seconds(),
        "baseline_s": span.baseline.total_seconds(),
        "not_recorded": [one.name for one in sections if not one.recorded],
        "sections": {
            section: {
                name: {"rows": one.rows, "in_all": one.in_all, "notes": one.notes} for name, one in figures.items()
            }
            for section, figures in answers.items()
        },
    }


def _section(section: Section, span: Span, answers: Mapping[str, Answered]) -> str:
    parts = [f'<section id="{section.name}"><h2>{escaped(section.title)}</h2>']
    parts.append(f'<p class="about">{escaped(section.about)}</p>')
    if not section.recorded:
        return "".join([*parts, _none(_not_recorded(section.probes)), "</section>"])
    for figure in section.figures:
        one = answers[figure.name]
        if figure.title:
            parts.append(f"<h3>{escaped(figure.title)}</h3>")
        parts.append(figure.draw(span, one.rows) if one.rows else "" if one.failed else _none(figure.empty))
        if one.in_all > len(one.rows):
            parts.append(f'<p class="note">The first {len(one.rows):,} of {number(one.in_all)}.</p>')
        parts += [f'<p class="note warn">{escaped(note)}</p>' for note in one.notes]
    return "".join([*parts, "</section>"])


def _not_recorded(probes: Sequence[str]) -> str:
    named = " or ".join(f'"{probe}"' for probe in probes)
    return f"Not recorded. Route a probe of type = {named} to the pipeline that writes this archive."


def _none(text: str) -> str:
    """In place of what there is nothing of."""
    return f'<p class="none">{escaped(text)}</p>'


def _policy() -> str:
    return (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON in which nothing ends the element that it stands in, or begins a comment there."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
