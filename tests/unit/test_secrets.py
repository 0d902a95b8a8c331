"""No secret that the agent's environment gives it is ever said: not in the log, the account, the state or a mistake."""

from __future__ import annotations

import os
from pathlib import Path

from agents import OWN, agent, ingrain
from serving import until

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYKEY",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+access/key",
    "AWS_SESSION_TOKEN": "canary-session-token",
    "INGEST_TOKEN": "canary-ingest-token",
    "INGEST_PATH": "canary-in%2Fthe-path",
}
HTTP = """
[pipeline.http.config]
backend = "HTTP"
uri = "http://127.0.0.1:9/canary-literal/${INGEST_PATH}/insert?key=canary-query"
roll_s = 1
headers = { authorization = "Bearer ${INGEST_TOKEN}", account = "canary-of-the-file" }
[[pipeline.http.steps]]
type = "Exec"
command = ["curl", "--user", "canary-argument"]
only_if = [{ key = "probe", regex = "^nothing$" }]
"""


def test_secrets_are_never_said_however_much_is_logged_and_whatever_fails(tmp_path: Path) -> None:
    toml = OWN.format(socket=tmp_path / "status.sock").replace('["out"]', '["out", "http"]') + (
        '[log]\nlog_level = "TRACE"\n'
        '[pipeline.out.config]\nbackend = "S3"\nbucket = "logs"\nregion = "us-east-1"\nroll_s = 1\n'
        f'endpoint_url = "http://127.0.0.1:9"\n{HTTP}'
    )
    environment = {**os.environ, **SECRETS, "AWS_EC2_METADATA_DISABLED": "true", "STATE_DIRECTORY": str(tmp_path)}
    with agent(toml, tmp_path, env=environment) as running:
        running.wait_for("EndpointConnectionError")
        running.wait_for("uploading to http://127.0.0.1:9 failed: ConnectionRefusedError")
        until("the failures to be told", lambda: running.status()[1]["problems"])
        told = running.status()[1]
        people = ingrain("status", "--socket", running.socket).stdout
        mistake = toml.replace("bucket", f'aws_secret_access_key = "{SECRETS["AWS_SECRET_ACCESS_KEY"]}"\nbucket')
        running.reload(mistake, "the configuration is refused")
        running.reload(toml.replace("http://", "http://user:canary-password@"), "the configuration is refused")
        running.reload(toml.replace("{ authorization", "{ 'a b' = 'canary-misnamed', authorization"), "is refused")
    everything = running.said + running.printed + str(told) + people + str(running.account)
    (tmp_path / "whole.toml").write_text(toml)
    checked = ingrain("check", tmp_path / "whole.toml").stdout
    assert 'headers = { authorization = "...", account = "..." }' in checked
    everything += checked
    assert "unknown key. Secrets never stand in this file" in everything
    assert 'command = ["curl", "..."]' in checked
    in_the_file = ("password", "query", "of-the-file", "misnamed", "literal", "in/the-path", "argument")
    for secret in (*SECRETS.values(), *(f"canary-{word}" for word in in_the_file)):
        assert secret not in everything
