"""No secret that the agent's environment gives it is ever said: not in the log, the account, the state or a mistake."""

from __future__ import annotations

import os
from pathlib import Path

from agents import OWN, agent, ingrain
from test_status import wait_until_told

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARYKEY",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+access/key",
    "AWS_SESSION_TOKEN": "canary-session-token",
}


def test_secrets_are_never_said_however_much_is_logged_and_whatever_fails(tmp_path: Path) -> None:
    toml = OWN.format(socket=tmp_path / "status.sock") + (
        '[log]\nlog_level = "TRACE"\n'
        '[pipeline.out.config]\nbackend = "S3"\nbucket = "logs"\nregion = "us-east-1"\nroll_s = 1\n'
        'endpoint_url = "http://127.0.0.1:9"\n'
    )
    environment = {**os.environ, **SECRETS, "AWS_EC2_METADATA_DISABLED": "true", "STATE_DIRECTORY": str(tmp_path)}
    with agent(toml, tmp_path, env=environment) as running:
        running.wait_for("EndpointConnectionError")
        _, told = wait_until_told(running, lambda told: bool(told["problems"]))
        people = ingrain("status", "--socket", running.socket).stdout
        mistake = toml.replace("bucket", f'aws_secret_access_key = "{SECRETS["AWS_SECRET_ACCESS_KEY"]}"\nbucket')
        running.reload(mistake, "the configuration is refused")
        running.reload(toml.replace("http://", "http://user:canary-password@"), "the configuration is refused")
    everything = running.said + running.printed + str(told) + people + str(running.account)
    assert "unknown key. Secrets never stand in this file" in everything
    for secret in (*SECRETS.values(), "canary-password"):
        assert secret not in everything
