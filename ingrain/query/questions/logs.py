"""What a container printed."""

import re

from ingrain.query.question import Question, Said, like, matches

_SHORT_ID = re.compile(r"[0-9a-f]{4,64}")  # what engines print of an id, and take for one
_STREAMS = ("stdout", "stderr")

_EACH = f"""
    SELECT timestamp, host, container, '{{0}}' AS stream, line FROM container_{{0}}
    WHERE {matches("container", "container")} OR {matches("container_id", "id")}"""  # noqa: S608 - of constants


def _parameters(said: Said) -> dict[str, str]:
    begun = f"{said.what}*" if _SHORT_ID.fullmatch(said.what) else said.what
    return like("container", said.what) | like("id", begun)


LOGS = Question(
    name="logs",
    what="CONTAINER",
    about="what a container printed, by its name or id; --follow goes on with what comes",
    examples=("logs web1 --since 1h", "logs web1 --follow"),
    sql="SELECT * FROM ("  # noqa: S608 - likewise
    + "\n    UNION ALL".join(map(_EACH.format, _STREAMS))
    + "\n)",
    order="timestamp",
    parameters=_parameters,
    lines=True,
    there="SELECT coalesce(container, container_id) AS name FROM ("  # noqa: S608 - likewise
    + " UNION ALL ".join(map("SELECT container, container_id FROM container_{}".format, _STREAMS))
    + ") WHERE name IS NOT NULL GROUP BY name ORDER BY count(*) DESC, name LIMIT 10",
)
