"""Who asked for a name, and what the answer was."""

from ingrain.query.question import Question, matches, name_like

LOOKED_UP = Question(
    name="looked-up",
    what="NAME",
    about="which processes asked for a name, and what they were told",
    examples=("looked-up example.com", "looked-up '*.example.com' --since 2h"),
    sql=f"""
SELECT * FROM (
    SELECT timestamp, host, 'answer' AS event, process, process_id, container, q_name, q_type, rcode, answers
    FROM dns_answer WHERE {matches("lower(q_name)", "name")}
    UNION ALL
    SELECT timestamp, host, 'query', process, process_id, container, q_name, q_type, NULL, NULL
    FROM dns_query WHERE {matches("lower(q_name)", "name")}
)""",  # noqa: S608 - of constants
    order="timestamp, process_id, event DESC, q_name, q_type",
    parameters=lambda said: name_like("name", said.what),
)
