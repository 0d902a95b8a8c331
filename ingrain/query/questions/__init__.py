"""The ready questions. One file each; this is the list of what exists."""

from ingrain.query.question import Question
from ingrain.query.questions.logs import LOGS
from ingrain.query.questions.looked_up import LOOKED_UP
from ingrain.query.questions.new_names import NEW_NAMES
from ingrain.query.questions.ran import RAN
from ingrain.query.questions.talked_to import TALKED_TO
from ingrain.query.questions.tls_to import TLS_TO
from ingrain.query.questions.top_talkers import TOP_TALKERS
from ingrain.query.questions.who_accessed import WHO_ACCESSED

QUESTIONS: dict[str, Question] = {
    one.name: one for one in (WHO_ACCESSED, TALKED_TO, LOOKED_UP, TLS_TO, TOP_TALKERS, RAN, LOGS, NEW_NAMES)
}
"""By name, in the order in which they are listed."""
