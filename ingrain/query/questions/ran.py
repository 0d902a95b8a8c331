"""Who ran a program, from where, and with which arguments."""

from ingrain.query.question import Question, Said, like


def _parameters(said: Said) -> dict[str, str]:
    pattern = like(said.what)
    return {"command": pattern, "program": pattern if "/" in said.what else f"%/{pattern}"}


RAN = Question(
    name="ran",
    what="COMMAND",
    about="who ran a program, by its name or path, with which arguments, and what started it",
    examples=("ran curl --since 1d", "ran '/tmp/*'"),
    sql="""
SELECT timestamp, host, process, process_id, uid, container, parent, parent_id, executable, args, cwd
FROM process_exec
WHERE process LIKE $command ESCAPE '!' OR executable LIKE $program ESCAPE '!'
ORDER BY timestamp, process_id""",
    parameters=_parameters,
)
