"""What docker/ describes is taken by who reads it, hangs together, and gives the agent the rights that it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from serving import CACHE, versitygw

from ingrain import __version__, config
from ingrain.kernel.host import CAPABILITIES

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
NEEDED = {name.removeprefix("CAP_") for name in CAPABILITIES} | {"SYS_ADMIN"}  # it gives that up where it can
OLDEST = "1.30"
"""The first Kubernetes with appArmorProfile."""


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    found = list(yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text()))
    by_kind = {one["kind"]: one for one in found}
    assert len(by_kind) == len(found)
    return by_kind


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifests["DaemonSet"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as the Compose Specification's own reader takes it, interpolated and checked."""
    reader = CACHE / "bin/compose"
    if not reader.exists():
        pytest.fail("the reader of compose files is not there: run tests/servers/install.sh, as make test does")
    command = [str(reader), "--format", "json", "compose.yaml"]
    done = subprocess.run(command, cwd=DOCKER, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_kubernetes_schemas_know_every_key_of_the_manifests(manifests: dict[str, Any], version: str) -> None:
    assert set(manifests) == {"Namespace", "ServiceAccount", "PriorityClass", "ConfigMap", "DaemonSet"}
    for one in manifests.values():
        kubernetes_validate.validate(one, version, strict=True)


def test_the_manifests_hang_together(manifests: dict[str, Any], pod: dict[str, Any]) -> None:
    namespace = manifests["Namespace"]["metadata"]["name"]
    assert all(one["metadata"].get("namespace", namespace) == namespace for one in manifests.values())
    selected = manifests["DaemonSet"]["spec"]["selector"]["matchLabels"]
    assert selected.items() <= manifests["DaemonSet"]["spec"]["template"]["metadata"]["labels"].items()
    assert pod["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]
    assert pod["priorityClassName"] == manifests["PriorityClass"]["metadata"]["name"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["config"]["configMap"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    assert mounts["config"]["subPath"] in manifests["ConfigMap"]["data"]
    assert container["args"] == ["run", mounts["config"]["mountPath"]]
    written = {name for name, mount in mounts.items() if not mount.get("readOnly")}
    assert written == {"state", "run"}


def test_the_pod_has_no_token_and_exactly_the_rights_that_the_agent_needs(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    rights = pod["containers"][0]["securityContext"]
    assert rights["privileged"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["capabilities"]["drop"] == ["ALL"]
    assert set(rights["capabilities"]["add"]) == NEEDED | {"IPC_LOCK"}  # a pod has no ulimits


def test_the_pod_is_on_every_node_that_can_run_the_image_and_is_not_the_first_to_go(
    manifests: dict[str, Any], pod: dict[str, Any]
) -> None:
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    assert 0 < manifests["PriorityClass"]["value"] <= 1_000_000_000  # what is above is the system's
    assert pod["containers"][0]["image"].endswith(f":{__version__}")


def test_the_agent_ends_what_it_holds_before_the_pod_s_limit_ends_it(
    manifests: dict[str, Any], pod: dict[str, Any], tmp_path: Path
) -> None:
    resources = pod["containers"][0]["resources"]
    assert {"cpu", "memory"} == resources["limits"].keys() == resources["requests"].keys()
    limit = int(resources["limits"]["memory"].removesuffix("Mi")) << 20
    memory_limit = configured(manifests, tmp_path).agent.memory
    assert memory_limit is not None
    assert memory_limit + (64 << 20) <= limit  # docs/operating.md


def test_only_an_agent_that_hangs_is_started_anew_and_a_rollout_waits_until_all_is_well(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    asked = {name: container[f"{name}Probe"]["exec"]["command"] for name in ("startup", "liveness", "readiness")}
    alive = ["ingrain", "status", "--alive"]
    assert asked == {"startup": alive, "liveness": alive, "readiness": ["ingrain", "status"]}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300  # 40 programs, slowly verified


def configured(manifests: dict[str, Any], folder: Path) -> config.Config:
    file = folder / "ingrain.toml"
    file.write_text(manifests["ConfigMap"]["data"]["ingrain.toml"])
    return config.load(file)


def test_the_configuration_of_the_manifests_is_one_that_the_agent_takes(
    manifests: dict[str, Any], tmp_path: Path
) -> None:
    loaded = configured(manifests, tmp_path)
    assert loaded.warnings == []
    assert "AddSystemDetails" in [kind for kind, _ in loaded.pipelines["s3"].steps]  # the node's name


def test_the_manifests_send_all_that_the_dashboards_show(manifests: dict[str, Any]) -> None:
    told = tomllib.loads(manifests["ConfigMap"]["data"]["ingrain.toml"])
    del told["agent"]
    assert told == tomllib.loads((ROOT / "config/everything.toml").read_text())


def test_compose_s_reader_takes_the_file_and_its_files_are_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"agent", "s3", "bucket", "statsd", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), (name, volume)
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", (name, port)
    build = compose["services"]["agent"]["build"]
    assert Path(build["context"]) == ROOT
    assert (ROOT / build["dockerfile"]).exists()


def test_the_agent_of_compose_has_exactly_the_rights_that_it_needs(compose: dict[str, Any]) -> None:
    agent = compose["services"]["agent"]
    assert agent["cap_drop"] == ["ALL"]
    assert set(agent["cap_add"]) == NEEDED
    assert agent.get("privileged", False) is False
    assert agent["read_only"] is True


def test_the_agent_of_compose_sends_where_the_others_listen(compose: dict[str, Any]) -> None:
    services = compose["services"]
    agent = services["agent"]["environment"]
    (statsd,) = services["statsd"]["ports"]
    assert (statsd["published"], statsd["protocol"]) == (agent["STATSD_PORT"], "udp")
    (s3,) = services["s3"]["ports"]
    assert agent["AWS_ENDPOINT_URL_S3"] == f"http://127.0.0.1:{s3['published']}"
    keys = services["s3"]["environment"]
    assert (keys["ROOT_ACCESS_KEY"], keys["ROOT_SECRET_KEY"]) == (
        agent["AWS_ACCESS_KEY_ID"],
        agent["AWS_SECRET_ACCESS_KEY"],
    )
    assert f'Bucket="{agent["AWS_S3_BUCKET"]}"' in services["bucket"]["command"][0]
    file = ROOT / "config" / Path(services["agent"]["command"][1]).name
    assert config.load(file).warnings == []


def test_compose_makes_the_bucket_and_is_content_with_it_the_next_time(compose: dict[str, Any], tmp_path: Path) -> None:
    service = compose["services"]["bucket"]
    with versitygw(tmp_path) as server:
        keys = {"AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": server.secret}
        environment = os.environ | service["environment"] | keys | {"AWS_ENDPOINT_URL_S3": server.url}
        command = [sys.executable, *service["entrypoint"][1:], *service["command"]]
        for _ in range(2):
            assert subprocess.run(command, env=environment, check=False).returncode == 0
        assert (server.folder / service["environment"]["AWS_S3_BUCKET"]).is_dir()


def configurations(compose: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, one in compose["configs"].items():
        yield name, yaml.safe_load(one["content"])


def test_what_compose_tells_prometheus_and_grafana_fits_together(compose: dict[str, Any]) -> None:
    told = dict(configurations(compose))
    (scraped,) = told["prometheus"]["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": ["statsd:9102"]}]
    (rules,) = compose["services"]["prometheus"]["volumes"]
    assert told["prometheus"]["rule_files"] == [rules["target"]]
    assert Path(rules["source"]) == ROOT / "config/grafana/prometheus-rules.yaml"
    assert told["datasources"]["datasources"][0]["url"] == "http://prometheus:9090"
    (provider,) = told["dashboards"]["providers"]
    (dashboard,) = compose["services"]["grafana"]["volumes"]
    assert Path(dashboard["target"]).parent == Path(provider["options"]["path"])
    assert Path(dashboard["source"]) == ROOT / "config/grafana/dashboard.json"


def test_the_command_in_the_dockerfile_gives_what_the_agent_needs() -> None:
    head = (DOCKER / "Dockerfile").read_text().partition("FROM ")[0]
    assert set(re.findall(r"--cap-add ([A-Z_]+)", head)) == NEEDED
