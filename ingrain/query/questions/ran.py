"""Who ran a program, from where, and with which arguments."""

from ingrain.query.question import Question, Said, like, matches


def _parameters(said: Said) -> dict[str, str]:
    program = said.what if "/" in said.what else f"*/{said.what}"
    return like("command", said.what) | like("program", program)


RAN = Question(
    name="ran",
    what="COMMAND",
    about="who ran a program, by its name or path, with which arguments, and what started it",
    examples=("ran curl --since 1d", "ran '/tmp/*'"),
    sql=f"""
SELECT timestamp, host, process, process_id, uid, container, parent, parent_id, executable, args, cwd
FROM process_exec
WHERE {matches("process", "command")} OR {matches("executable", "program")}""",  # noqa: S608 - of constants
    order="timestamp, process_id",
    parameters=_parameters,
)
