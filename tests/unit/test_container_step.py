"""Container tells whose container a record is of by ingraind's names, for records of the system that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chain import chain
from through import loaded, through

from ingrain.batch import TEXT, TIMESTAMP, Batch
from ingrain.grains.network import Network
from ingrain.pipeline import Pipeline
from ingrain.steps.container import Container, ContainerSettings

MEASUREMENT = Network.measurements[0]
IDS = ["d" * 64, "e" * 64]
ROWS: list[dict[str, Any]] = [
    {"container_id": IDS[0], "container": "web1", "pod": None, "namespace": None},
    {"container_id": IDS[1], "container": "app", "pod": "shop-0", "namespace": "shop"},
    {"container_id": None, "container": None, "pod": None, "namespace": None},
]


def batch(*dropped: str) -> Batch:
    """Records of a container, of a pod's and of none, without these tags."""
    schema = pa.schema([("timestamp", TIMESTAMP), ("value", pa.int64()), *((name, TEXT) for name in ROWS[0])])
    records = pa.RecordBatch.from_pylist([{"timestamp": 0, "value": 1, **row} for row in ROWS], schema)
    return Batch(MEASUREMENT, records.drop_columns(list(dropped)))


def added(system: Any, *dropped: str) -> dict[str, list[str | None]]:
    with chain((Container, ContainerSettings(system=system))) as steps:
        steps.tell(batch(*dropped))
        steps.flush()
        (out,) = steps.batches
    out.records.validate(full=True)
    given = batch(*dropped).records
    assert out.records.select(given.schema.names).equals(given), "what was there is as it was"
    return {name: out.records.column(name).to_pylist() for name in out.tags if name not in ROWS[0]}


def test_the_container_s_id_is_there_of_whatever_system() -> None:
    for system in (None, "Docker", "Kubernetes"):
        assert added(system)["docker_id"] == [*IDS, None]


def test_docker_names_containers_that_are_in_no_pod() -> None:
    assert added("Docker") == {"docker_id": [*IDS, None], "docker_name": ["web1", None, None]}


def test_kubernetes_names_pods_and_their_namespaces() -> None:
    expected = {"kubernetes_namespace": [None, "shop", None], "kubernetes_pod_name": [None, "shop-0", None]}
    assert added("Kubernetes") == {"docker_id": [*IDS, None], **expected}


def test_without_a_system_there_is_the_id_alone() -> None:
    assert added(None) == {"docker_id": [*IDS, None]}


def test_what_a_batch_does_not_tell_is_not_added() -> None:
    assert added("Docker", "pod") == {"docker_id": [*IDS, None]}
    assert added("Kubernetes", "container_id", "namespace") == {"kubernetes_pod_name": [None, "shop-0", None]}


@pytest.mark.parametrize(
    ("system", "allow", "wanted"),
    [
        ("Docker", ["docker_name", "process"], {"container", "pod", "process"}),
        ("Docker", ["docker_id"], {"container_id"}),
        ("Kubernetes", ["kubernetes_pod_name", "pod"], {"pod"}),
        ("Kubernetes", ["kubernetes_namespace", "docker_id"], {"namespace", "container_id"}),
    ],
)
def test_probes_are_asked_for_what_it_is_made_of(
    tmp_path: Path, system: str, allow: list[str], wanted: set[str]
) -> None:
    whitelist = f'type = "Whitelist"\nallow = {allow}'
    pipeline = Pipeline(loaded(tmp_path, f'type = "Container"\nsystem = "{system}"', whitelist))
    assert pipeline.wants == frozenset(wanted)


IT = 'type = "Container"\nsystem = "Docker"'


@pytest.mark.parametrize(
    ("steps", "wanted", "tags"),
    [
        ((["process_id"],), {"process_id"}, {"process_id", "docker_id", "docker_name"}),
        ((["process_id", "pod"], ["process_id"]), {"process_id"}, {"process_id", "docker_id", "docker_name"}),
        ((["container_id"],), {"container_id"}, {"container_id", "docker_id", "docker_name"}),
    ],
)
def test_it_works_behind_whitelists_as_in_ingraind_and_lets_nothing_through_that_they_do_not(
    tmp_path: Path, steps: tuple[list[str], ...], wanted: set[str], tags: set[str]
) -> None:
    """That no warning comes of it is seen by `loaded`, which takes none."""
    chain = [f'type = "Whitelist"\nallow = {allow}' for allow in steps]
    chain += ['type = "Buffer"\ninterval_s = 3600', IT]
    with through(tmp_path, *chain) as run:
        assert run.pipeline.wants == frozenset(wanted | {"container_id", "container", "pod"})
        whole = batch().records.append_column("process_id", pa.array([7, 7, 8], pa.uint32()))
        run.pipeline.put(Batch(MEASUREMENT, whole))
        run.pipeline.put(Batch(MEASUREMENT, whole))
    rows = run.rows[MEASUREMENT.name]
    assert {name for row in rows for name in row} - {"timestamp", "value"} == tags
    assert [(row["docker_id"], row["docker_name"], row["value"]) for row in rows] == [
        (IDS[0], "web1", 2), (IDS[1], None, 2), (None, None, 2)
    ]  # fmt: skip


def test_two_of_them_behind_a_whitelist_both_have_what_they_need(tmp_path: Path) -> None:
    other = 'type = "Container"\nsystem = "Kubernetes"'
    with through(tmp_path, 'type = "Whitelist"\nallow = ["process_id"]', IT, other) as run:
        run.pipeline.put(batch())
    told = [(row["docker_name"], row["kubernetes_pod_name"]) for row in run.rows[MEASUREMENT.name]]
    assert told == [("web1", None), (None, "shop-0"), (None, None)]
    assert {name for row in run.rows[MEASUREMENT.name] for name in row} == {
        "timestamp", "value", "docker_id", "docker_name", "kubernetes_pod_name", "kubernetes_namespace"
    }  # fmt: skip


def test_what_is_asked_of_a_probe_for_it_is_what_is_wanted_behind_it(tmp_path: Path) -> None:
    whitelists = ['type = "Whitelist"\nallow = ["process_id"]', 'type = "Whitelist"\nallow = ["docker_id"]']
    pipeline = Pipeline(loaded(tmp_path, whitelists[0], IT, whitelists[1]))
    assert pipeline.wants == frozenset({"container_id"})


def test_its_tags_go_on_to_the_backend_null_where_the_system_is_another(tmp_path: Path) -> None:
    whitelist = 'type = "Whitelist"\nallow = ["docker_name"]'
    with through(tmp_path, 'type = "Container"\nsystem = "Docker"', whitelist) as run:
        run.pipeline.put(batch())
    assert [row["docker_name"] for row in run.rows[MEASUREMENT.name]] == ["web1", None, None]
