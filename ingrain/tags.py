"""Names of tags: the spellings of ingraind's other versions, accepted in configuration for the names of its example."""

ALIASES = {
    "process_str": "process",
    "process_name": "process",
    "process_pid": "process_id",
    "task_id": "process_id",
    "s_ip_str": "s_ip",
    "d_ip_str": "d_ip",
    "source_ip_ip": "s_ip",
    "destination_ip_ip": "d_ip",
    "source_port_i": "s_port",
    "destination_port_i": "d_port",
    "path_str": "path",
    "ino_id": "inode",
    "syscall_str": "syscall",
    "sni_list": "sni",
    "alpn_list": "alpn",
    "alpn_str": "alpn",
    "ciphersuites_list": "ciphersuites",
    "ciphersuite_str": "ciphersuite",
    "q_name_str": "q_name",
    "q_address_str": "q_name",
    "q_domain_str": "q_name",
    "q_dnstype": "q_type",
    "answers_list": "answers",
    "q_answer_ip_list": "answers",
}
"""Other spelling -> the name used here."""


def aside(tag: str) -> str:
    """The name of a tag that goes past a Whitelist only for a step behind it: one that no record or file can have."""
    return f"\0{tag}"


def canonical(tag: str) -> str:
    """The name that this agent's records use for a tag."""
    return ALIASES.get(tag, tag)
