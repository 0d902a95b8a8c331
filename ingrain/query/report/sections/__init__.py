"""The sections of a report. One file each; this is the list of what exists, in the order in which they stand."""

from collections.abc import Sequence

from ingrain.query.report.figures import Section
from ingrain.query.report.sections.containers import CONTAINERS
from ingrain.query.report.sections.files import FILES
from ingrain.query.report.sections.names import NAMES
from ingrain.query.report.sections.new import NEW
from ingrain.query.report.sections.programs import PROGRAMS
from ingrain.query.report.sections.record import record
from ingrain.query.report.sections.talks import TALKS
from ingrain.query.report.sections.tls import TLS
from ingrain.query.report.sections.traffic import TRAFFIC


def sections(measurements: Sequence[str]) -> tuple[Section, ...]:
    """All of them, of an archive that has these measurements: what to look at first comes first."""
    every = (NEW, TRAFFIC, TALKS, NAMES, TLS, FILES, PROGRAMS, CONTAINERS, record(measurements))
    return tuple(one.of(measurements) for one in every)
