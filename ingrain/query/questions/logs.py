"""What a container printed."""

import re

from ingrain.query.question import Question, Said, like

_SHORT_ID = re.compile(r"[0-9a-f]{4,64}")  # what engines print of an id, and take for one


def _parameters(said: Said) -> dict[str, str]:
    pattern = like(said.what)
    return {"container": pattern, "id": f"{pattern}%" if _SHORT_ID.fullmatch(said.what) else pattern}


LOGS = Question(
    name="logs",
    what="CONTAINER",
    about="what a container printed, by its name or id; --follow goes on with what comes",
    examples=("logs web1 --since 1h", "logs web1 --follow"),
    sql="""
SELECT * FROM (
    SELECT timestamp, host, container, 'stdout' AS stream, line FROM container_stdout
    WHERE container LIKE $container ESCAPE '!' OR container_id LIKE $id ESCAPE '!'
    UNION ALL
    SELECT timestamp, host, container, 'stderr', line FROM container_stderr
    WHERE container LIKE $container ESCAPE '!' OR container_id LIKE $id ESCAPE '!'
)
ORDER BY timestamp""",
    parameters=_parameters,
    lines=True,
)
