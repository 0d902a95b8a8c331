"""Who began a TLS handshake with a name, and with what."""

from ingrain.query.question import Question, matches, name_like

TLS_TO = Question(
    name="tls-to",
    what="NAME",
    about="which processes began TLS with a host of that name, and by which fingerprint",
    examples=("tls-to example.com", "tls-to '*.example.com' --since 1d"),
    sql=f"""
SELECT
    timestamp, host, process, process_id, container, direction, sni, d_ip, d_port, proto, client_version, ja4, ech,
    sni_matches_dns
FROM tls_handshake_clienthello
WHERE {matches("lower(sni)", "name")}""",  # noqa: S608 - of constants
    order="timestamp, process_id, sni, d_ip, d_port",
    parameters=lambda said: name_like("name", said.what),
)
