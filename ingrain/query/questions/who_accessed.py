"""Which processes touched a file, how and when: the question of ingraind's announcement."""

from ingrain.query.question import Question, like, matches

_FILES = ("open", "read", "write", "mmap", "truncate", "create", "rename", "link", "delete", "chmod", "chown")
_MOVED = ("rename", "link")
_COUNTED = ("read", "write")

_EACH = """
    SELECT timestamp, host, '{action}' AS action, process, process_id, uid, container, path, {new_path}, {bytes}
    FROM file_{action} WHERE {wanted}"""
_PATH, _NEW_PATH = matches("path", "path"), matches("new_path", "path")

WHO_ACCESSED = Question(
    name="who-accessed",
    what="PATH",
    about="which processes opened, read, wrote, renamed, deleted ... a file, and when",
    examples=("who-accessed /etc/passwd --since 1d", "who-accessed '/root/.ssh/*' --since yesterday"),
    sql="SELECT * FROM ("  # noqa: S608 - of the constants above
    + "\n    UNION ALL".join(
        _EACH.format(
            action=action,
            new_path="new_path" if action in _MOVED else "NULL AS new_path",
            bytes="value AS bytes" if action in _COUNTED else "NULL AS bytes",
            wanted=f"{_PATH} OR {_NEW_PATH}" if action in _MOVED else _PATH,
        )
        for action in sorted(_FILES, key=lambda one: one not in (*_MOVED, *_COUNTED))
    )
    + "\n)",
    order="timestamp, process_id, action, path",
    parameters=lambda said: like("path", said.what),
)
