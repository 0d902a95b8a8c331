"""The TOML file becomes typed models, or every mistake in it is told at once, with its line and what is allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingrain import backends, config, grains, steps
from ingrain.config import Config, ConfigError
from ingrain.config.problems import Problem
from ingrain.grains.files import FilesSettings
from ingrain.settings import Settings
from ingrain.steps.buffer import BufferSettings
from ingrain.steps.regex import Pattern, RegexSettings
from ingrain.steps.whitelist import WhitelistSettings

EXAMPLES = Path(__file__).parents[2] / "config"

MINIMAL = """\
[[probe]]
pipelines = ["s3"]
[probe.config]
type = "TLS"
[pipeline.s3.config]
backend = "S3"
"""


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real" not in request.node.name:
        monkeypatch.setattr(grains, "GRAINS", {"TLS": "parts:TLS"})
        monkeypatch.setattr(grains, "OWN", {"Agent": "ingrain.telemetry:Telemetry"})
        monkeypatch.setattr(grains, "OLDER", {})
        monkeypatch.setattr(backends, "BACKENDS", {"S3": "parts:S3"})


def load(folder: Path, text: str | bytes) -> Config:
    file = folder / "ingrain.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(file)


def mistakes(folder: Path, text: str | bytes) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.problems
    return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]


def test_the_file_of_ingraind_s_announcement_loads_and_says_what_it_says_real() -> None:
    loaded = config.load(EXAMPLES / "ingraind-announcement.toml")
    assert [(probe.type, probe.pipelines) for probe in loaded.probes] == [("Files", ["s3"]), ("TLS", ["s3"])]
    assert loaded.probes[0].settings == FilesSettings(monitor_dirs=["/"])
    assert (loaded.pipelines["s3"].name, loaded.pipelines["s3"].backend) == ("s3", "S3")
    pattern = Pattern(key="process", regex=r"conn\d+", replace_with="docker_conn_proxy")
    assert loaded.pipelines["s3"].steps == [
        ("Whitelist", WhitelistSettings(allow=["process", "s_ip", "d_port", "path"])),
        ("Regex", RegexSettings(patterns=[pattern])),
    ]
    assert loaded.warnings == []


@pytest.mark.parametrize("name", ["network-to-statsd.toml", "archive.toml", "files.toml"])
def test_the_other_examples_load_without_a_warning_real(name: str) -> None:
    assert config.load(EXAMPLES / name).warnings == []


def test_a_number_that_python_writes_out_no_more_is_a_mistake_like_others_real(tmp_path: Path) -> None:
    huge = "0x" + "f" * 5000
    text = MINIMAL.replace('"TLS"', f'"TLS"\nbuffer_kb = {huge}').replace('"S3"\n', f'"HTTP"\nthreads = {huge}\n')
    (threads, buffer) = sorted(mistakes(tmp_path, text + 'uri = "http://x.test/"\n'), reverse=True)
    assert buffer[1:] == (
        "probe[0].config.buffer_kb",
        "expected a whole number from 8 to 262144, found a number of more than 64 bits",
    )
    assert threads[1:] == (
        "pipeline.s3.config.threads",
        "expected a whole number from 1, found a number of more than 64 bits",
    )


def test_every_kind_of_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """\
colour = "red"
[[probe]]
pipelines = ["s3", "s33", "s3"]
[probe.config]
type = "TLs"
[[probe]]
pipelines = []
[probe.config]
type = "TLS"
buffer_kb = 7
interfaces = "eth0"
[pipeline.s3.config]
backend = "S3"
format = "jsn"
aws_secret_access_key = "hunter2"
roll = [1, 0, "2"]
[[pipeline.s3.steps]]
type = "Regex"
patterns = [
  { key = "process", regex = "conn(", replace_with = "x" },
  { key = "process", regex = "(?=x)" },
  { key = "process", regex = "ok", replace = "x",
    replace_with = 5 },
]
[[pipeline.s3.steps]]
type = "Containr"
[[pipeline.s3.steps]]
allow = ["a"]
[[pipeline.s3.steps]]
type = "Buffer"
interval_s = 0
[pipeline.other]
[pipeline.http.config]
backend = "HTTP"
[log]
log_level = "debgu"
""",
    )
    assert [(line, key) for line, key, _ in found] == [
        (1, "colour"),
        (3, "probe[0].pipelines[1]"),
        (3, "probe[0].pipelines[2]"),
        (5, "probe[0].config.type"),
        (7, "probe[1].pipelines"),
        (10, "probe[1].config.buffer_kb"),
        (11, "probe[1].config.interfaces"),
        (14, "pipeline.s3.config.format"),
        (15, "pipeline.s3.config.aws_secret_access_key"),
        (16, "pipeline.s3.config.roll[1]"),
        (16, "pipeline.s3.config.roll[2]"),
        (20, "pipeline.s3.steps[0].patterns[0].regex"),
        (21, "pipeline.s3.steps[0].patterns[1].regex"),
        (21, "pipeline.s3.steps[0].patterns[1]"),
        (22, "pipeline.s3.steps[0].patterns[2].replace"),
        (23, "pipeline.s3.steps[0].patterns[2].replace_with"),
        (26, "pipeline.s3.steps[1].type"),
        (27, "pipeline.s3.steps[2]"),
        (31, "pipeline.s3.steps[3].interval_s"),
        (32, "pipeline.other"),
        (34, "pipeline.http.config.backend"),
        (36, "log.log_level"),
    ]
    said = {key: message for _, key, message in found}
    assert said["colour"] == "unknown key. Allowed here: probe, pipeline, log, agent"
    assert said["probe[0].pipelines[1]"] == "there is no pipeline s33. Did you mean s3? There are: s3, other, http"
    assert said["probe[0].config.type"] == "there is no TLs. Did you mean TLS? Allowed: TLS, Agent"
    assert said["probe[1].config.buffer_kb"] == "expected a whole number from 8 to 4096, found 7"
    assert "Did you mean interface?" in said["probe[1].config.interfaces"]
    assert said["pipeline.s3.config.format"].endswith('one of "jsonl", "parquet", found "jsn". Did you mean jsonl?')
    assert "boto3" in said["pipeline.s3.config.aws_secret_access_key"]
    assert said["pipeline.s3.config.roll[2]"] == 'expected a whole number from 1, found "2"'
    assert "missing ): conn(" in said["pipeline.s3.steps[0].patterns[0].regex"]
    assert "no lookarounds" in said["pipeline.s3.steps[0].patterns[1].regex"]
    assert "replace_with is missing" in said["pipeline.s3.steps[0].patterns[1]"]
    assert said["pipeline.s3.steps[1].type"].startswith("there is no Containr. Did you mean Container? Allowed: Whitel")
    assert said["pipeline.s3.steps[2]"] == f"type is missing; it takes one of {', '.join(steps.STEPS)}"
    assert said["log.log_level"].endswith("Did you mean DEBUG?")


def test_the_value_of_a_secret_is_never_shown(tmp_path: Path) -> None:
    found = mistakes(tmp_path, MINIMAL + 'aws_secret_access_key = "hunter2"\npassword = ["hunter2"]\n')
    assert len(found) == 2
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, "", "no probe")),
        ("[probe]\npipelines = []\n", (1, "probe", "write [[probe]]")),
        ("probe = 5\n", (1, "probe", "write [[probe]]")),
        ("probe = [5]\n", (1, "probe[0]", "expected a table")),
        ("pipeline = 5\n" + MINIMAL.partition("[pipeline")[0], (1, "pipeline", "expected a table")),
        (MINIMAL + "[pipeline.b]\nconfig = 1\n", (8, "pipeline.b.config", "expected a table")),
        (MINIMAL.replace('"TLS"', "['TLS']"), (4, "probe[0].config.type", "expected one of TLS, Agent, in quotes")),
        (MINIMAL.replace('"S3"', "{}"), (6, "pipeline.s3.config.backend", "expected one of S3, in quotes")),
        (MINIMAL.replace('["s3"]', '"s3"'), (2, "probe[0].pipelines", "pipelines must list")),
        (MINIMAL.replace('["s3"]', "[3]"), (2, "probe[0].pipelines[0]", "the name of a pipeline")),
        (MINIMAL.replace('backend = "S3"', ""), (5, "pipeline.s3.config", "backend is missing; it takes one of S3")),
        (MINIMAL.replace('"S3"', '"HTTP"'), (6, "pipeline.s3.config.backend", "there is no HTTP. Allowed: S3")),
        (MINIMAL + "steps = 1\n", (7, "pipeline.s3.config.steps", "unknown key")),
        (MINIMAL + "[pipeline.s3]\nsteps = 1\n", (8, "pipeline.s3.steps", "write [[pipeline.s3.steps]]")),
        (MINIMAL + 'bucket = "BAD"\n', (7, "pipeline.s3.config.bucket", "S3 has no capital letters")),
        (MINIMAL + "bucket = 1979-05-27\n", (7, "pipeline.s3.config.bucket", "expected text, found a date")),
        (
            MINIMAL + '[[pipeline.s3.steps]]\ntype = "Buffer"\ninterval_s = 1\ninterval_ms = 1\n',
            (7, "pipeline.s3.steps[0]", "only one of interval_s"),
        ),
        (
            MINIMAL + '[[pipeline.s3.steps]]\ntype = "Regex"\npatterns = ["x"]\n',
            (9, "pipeline.s3.steps[0].patterns[0]", 'expected a table with key, regex, replace_with, found "x"'),
        ),
        (
            MINIMAL + '[pipeline."a\\nb".config]\nbackend = "S3"\n',
            (7, 'pipeline."a\\x0ab"', "control characters"),
        ),
        ("a = 1\nb = \n", (2, "", "not TOML: Invalid value (column 5)")),
        ("a = 1\na = 2\n", (2, "", "not TOML: Cannot overwrite a value")),
        (b"a = 1\nb = '\xff'\n", (2, "", "not UTF-8")),
        ("a = " + "[" * 5000 + "]" * 5000, (0, "", "not a configuration")),
        ("a = 9" + "9" * 5000, (0, "", "not a configuration")),
        ("#" * (2 << 20), (0, "", "larger than 1 MiB")),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, text: str | bytes, expected: tuple[int, str, str]) -> None:
    line, key, message = mistakes(tmp_path, text)[0]
    assert (line, key) == expected[:2]
    assert expected[2] in message


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, said in [
        (tmp_path / "none.toml", "no such file"),
        (tmp_path, "folder"),
        (Path("/dev/zero"), "larger than"),
        (tmp_path / "loop", "cannot be read: Too many levels of symbolic links"),
        (Path("a\0b"), "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=said) as caught:
            config.load(path)
        assert [problem.line for problem in caught.value.problems] == [0]


def test_a_configuration_from_a_pipe_is_read() -> None:
    read, write = os.pipe()
    os.write(write, MINIMAL.encode())
    os.close(write)
    try:
        assert config.load(f"/dev/fd/{read}").probes[0].type == "TLS"
    finally:
        os.close(read)


def test_a_part_that_cannot_be_imported_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", {"S3": "no_such_module:S3"})
    assert mistakes(tmp_path, MINIMAL) == [
        (6, "pipeline.s3.config.backend", "S3 cannot be loaded here: No module named 'no_such_module'")
    ]


def test_a_pipeline_that_nothing_feeds_is_a_warning(tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL + '[pipeline.spare.config]\nbackend = "S3"\n')
    assert loaded.warnings == [Problem(7, "pipeline.spare", "no probe feeds this pipeline")]


def steps_of(*tables: str) -> str:
    return MINIMAL + "".join(f"[[pipeline.s3.steps]]\n{table}\n" for table in tables)


def test_a_tag_that_no_record_has_is_a_warning(tmp_path: Path) -> None:
    regex = 'type = "Regex"\npatterns = [{ key = "proces", regex = "a", replace_with = "b" }]'
    loaded = load(tmp_path, steps_of(regex))
    assert [str(warning) for warning in loaded.warnings] == [
        '9: pipeline.s3.steps[0].patterns[0].key: no record of TLS has the tag "proces". Did you mean process?'
    ]


def test_a_tag_that_an_earlier_whitelist_drops_is_a_warning(tmp_path: Path) -> None:
    regex = 'type = "Regex"\npatterns = [{ key = "s_ip", regex = "a", replace_with = "b" }]'
    loaded = load(tmp_path, steps_of('type = "Whitelist"\nallow = ["process"]', regex))
    assert [(warning.line, warning.key) for warning in loaded.warnings] == [
        (12, "pipeline.s3.steps[1].patterns[0].key")
    ]
    assert "a Whitelist before this step drops it" in loaded.warnings[0].message


def test_a_tag_that_an_earlier_step_adds_is_no_warning_and_behind_a_whitelist_it_is_one(tmp_path: Path) -> None:
    added = 'type = "AddSystemDetails"'
    regex = 'type = "Regex"\npatterns = [{ key = "host", regex = "a", replace_with = "b" }]'
    assert load(tmp_path, steps_of(added, regex)).warnings == []
    (before,) = load(tmp_path, steps_of(regex, added)).warnings
    assert before.message == 'no record of TLS has the tag "host"'
    (dropped,) = load(tmp_path, steps_of(added, 'type = "Whitelist"\nallow = ["process"]', regex)).warnings
    assert dropped.message == 'no record has "host" here: a Whitelist before this step drops it'
    (near,) = load(tmp_path, steps_of(added, regex.replace("host", "hosts"))).warnings
    assert near.message.endswith("Did you mean host?")


def test_the_tags_that_conditions_and_a_command_name_are_judged_too(tmp_path: Path) -> None:
    step = 'type = "Exec"\ncommand = ["kill", "{ proces }", "{ process_str }"]\nonly_if = [{ key = "por", regex = "" }]'
    warnings = load(tmp_path, steps_of(step)).warnings
    assert [(warning.line, warning.key) for warning in warnings] == [
        (9, "pipeline.s3.steps[0].command[1]"),
        (10, "pipeline.s3.steps[0].only_if[0].key"),
    ]


def test_a_command_that_a_value_could_change_is_a_mistake_on_its_line(tmp_path: Path) -> None:
    ((line, key, message),) = mistakes(tmp_path, steps_of('type = "Exec"\ncommand = ["sh", "-c", "{ process }"]'))
    assert (line, key) == (9, "pipeline.s3.steps[0].command")
    assert "sh could run a value as a command" in message
    ((line, key, message),) = mistakes(tmp_path, steps_of('type = "Exec"\ncommand = "kill -9"'))
    assert (line, key) == (9, "pipeline.s3.steps[0].command")
    assert message == "expected a list that is not empty, each item text"


def test_later_spellings_of_tags_are_no_warning(tmp_path: Path) -> None:
    assert load(tmp_path, steps_of('type = "Whitelist"\nallow = ["process_str", "s_ip"]')).warnings == []


def test_defaults_and_the_log_table_are_in_the_model(tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL)
    assert (loaded.log.type, loaded.log.log_level) == ("EnvLogger", "INFO")
    for level in ("DEBUG", "debug", "Debug"):  # as ingraind takes it
        loaded = load(tmp_path, MINIMAL + f'[log]\ntype = "Syslog"\nlog_level = "{level}"\n')
        assert (loaded.log.type, loaded.log.level) == ("Syslog", "DEBUG")
    loaded = load(tmp_path, steps_of('type = "Buffer"\ninterval_ms = 250'))
    assert loaded.pipelines["s3"].steps == [("Buffer", BufferSettings(interval_ms=250))]


def test_the_graph_shows_probes_steps_and_backend_in_order_with_what_is_not_default(tmp_path: Path) -> None:
    whitelist = 'type = "Whitelist"\nallow = ["process", "s_ip"]'
    pattern = r'{ key = "process", regex = "conn\\d+", replace_with = "docker_conn_proxy" }'
    text = steps_of(whitelist, f'type = "Regex"\npatterns = [{pattern}, {pattern}]', 'type = "Buffer"\ninterval_s = 10')
    text = text.replace('"TLS"', '"TLS"\ninterface = "eth0"\nbuffer_kb = 512')
    text += '[[probe]]\npipelines = ["s3", "b c"]\n[probe.config]\ntype = "TLS"\n'
    text += '[pipeline."b c".config]\nbackend = "S3"\n'
    assert config.describe(load(tmp_path, text)) == (
        "pipeline s3\n"
        '  probe    TLS        interface = "eth0"\n'
        "  probe    TLS\n"
        '  step     Whitelist  allow = ["process", "s_ip"]\n'
        "  step     Regex      patterns = [\n"
        f"                        {pattern},\n"
        f"                        {pattern},\n"
        "                      ]\n"
        "  step     Buffer     interval_s = 10\n"
        "  backend  S3\n"
        "\n"
        'pipeline "b c"\n'
        "  probe    TLS\n"
        "  backend  S3"
    )


VALUES = st.recursive(
    st.sampled_from(["1", "-1.5", "true", '"s3"', '"TLS"', "1979-05-27", "'x'"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["type", "key", "config"]), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_behind_a_key_is_accepted_or_told_never_a_crash(tmp_path: Path, data: st.DataObject) -> None:
    text = steps_of(
        'type = "Whitelist"\nallow = ["process"]',
        'type = "Regex"\npatterns = [{ key = "s_ip", regex = "a", replace_with = "b" }]',
    )
    lines = (text + '[log]\ntype = "Syslog"\n').splitlines()
    at = data.draw(st.sampled_from([number for number, line in enumerate(lines) if "=" in line]))
    lines[at] = lines[at].split("=")[0] + "= " + data.draw(VALUES)
    if data.draw(st.booleans()):
        del lines[data.draw(st.integers(0, len(lines) - 1))]
    try:
        config.describe(load(tmp_path, "\n".join(lines)))
        told = [1]
    except ConfigError as error:
        told = [problem.line for problem in error.problems]
    assert told
    assert all(0 < line <= len(lines) for line in told)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cgroup", "a\\u0000b", "no NUL"),
        ("interface", "a\\u0000b", "a network device"),
        ("interface", "", "without it all are observed"),
    ],
)
def test_what_no_probe_could_observe_is_a_mistake_real(tmp_path: Path, key: str, value: str, said: str) -> None:
    out = '[pipeline.out.config]\nbackend = "Console"\n'
    toml = f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "DNS"\n{key} = "{value}"\n{out}'
    [(line, where, message)] = mistakes(tmp_path, toml)
    assert (line, where) == (5, f"probe[0].config.{key}")
    assert said in message


def test_a_socket_that_top_s_would_be_put_upon_is_a_mistake(tmp_path: Path) -> None:
    [(line, key, message)] = mistakes(tmp_path, MINIMAL + '[agent]\nsocket = "/run/a.live"\n')
    assert (line, key) == (8, "agent.socket")
    assert "may not end in .live" in message


@pytest.mark.parametrize("size", ["100MB", "150", "1.5G", ""])
def test_a_limit_of_memory_that_is_no_size_is_a_mistake_on_its_line(tmp_path: Path, size: str) -> None:
    [(line, key, message)] = mistakes(tmp_path, MINIMAL + f'[agent]\nmemory_limit = "{size}"\n')
    assert (line, key) == (8, "agent.memory_limit")
    assert "expected a size in KiB, MiB or GiB, like 150M or 1G" in message


def refuse(_value: str) -> None:
    raise ValueError("nothing is allowed")


class Optional(Settings, frozen=True):
    inside: Annotated[str | None, msgspec.Meta(extra={"check": refuse})] = None
    outside: Annotated[str, msgspec.Meta(extra={"check": refuse})] | None = None


@pytest.mark.parametrize("name", ["inside", "outside"])
def test_a_field_that_may_be_left_out_is_checked_however_that_is_written(name: str) -> None:
    assert getattr(Optional(), name) is None
    with pytest.raises(ValueError, match=f"{name}: nothing is allowed"):
        Optional(**{name: "x"})


def test_the_loader_is_the_agent_s_and_may_be_another_of_a_probe_real(tmp_path: Path) -> None:
    probe = '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "DNS"\n'
    out = '[pipeline.out.config]\nbackend = "Console"\n'
    loaded = load(tmp_path, f'[agent]\nloader = "bcc"\n{probe}{probe}loader = "core"\n{out}')
    assert loaded.agent.loader == "bcc"
    assert [one.settings.loader for one in loaded.probes] == [None, "core"]
    assert config.describe(loaded).startswith('agent\n  loader = "bcc"\n\npipeline out\n')
    assert load(tmp_path, probe + out).agent.loader == "auto"
    said = mistakes(tmp_path, f'[agent]\nloader = "bbc"\n{probe}loader = 1\n{out}')
    assert [(line, key) for line, key, _message in said] == [(2, "agent.loader"), (7, "probe[0].config.loader")]
    assert all('expected one of "auto", "bcc", "core"' in message for _line, _key, message in said)


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """A configuration that root alone can write."""
    file = tmp_path / "etc" / "ingrain.toml"
    file.parent.mkdir(mode=0o755)
    file.write_text(MINIMAL)
    return file


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the rule is for root's agents")


@AS_ROOT
@pytest.mark.parametrize(
    ("what", "rights", "said"),
    [
        ("etc/ingrain.toml", (0o664, 0), "others (mode 664 of"),
        ("etc/ingrain.toml", (0o606, 0), "others (mode 606 of"),
        ("etc/ingrain.toml", (0o600, 65534), "user 65534, to whom"),
        ("etc", (0o777, 0), "others (mode 777 of"),
        ("etc", (0o755, 65534), "user 65534, to whom"),
    ],
)
def test_root_does_not_do_what_others_can_write(
    tmp_path: Path, guarded: Path, what: str, rights: tuple[int, int], said: str
) -> None:
    mode, owner = rights
    (tmp_path / what).chmod(mode)
    os.chown(tmp_path / what, owner, owner)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        config.load(guarded)
    assert str(tmp_path / what) in str(caught.value)


@AS_ROOT
def test_a_link_is_as_good_as_where_it_stands_and_what_it_leads_to(tmp_path: Path, guarded: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(guarded)
    config.load(link)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(ConfigError, match=r"user 65534, to whom .*link\.toml belongs"):
        config.load(link)
    os.chown(link, 0, 0, follow_symlinks=False)
    guarded.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="can be changed by others"):
        config.load(link)


@AS_ROOT
def test_what_root_alone_can_write_is_read_also_in_a_sticky_folder(tmp_path: Path, guarded: Path) -> None:
    guarded.parent.chmod(0o1777)
    assert config.load(guarded).pipelines


STATSD = '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "StatsD"\n'


def test_tags_that_clients_choose_are_not_judged_real(tmp_path: Path) -> None:
    text = STATSD + '[pipeline.out.config]\nbackend = "Console"\n[[pipeline.out.steps]]\ntype = "Whitelist"\n'
    assert load(tmp_path, text + 'allow = ["env"]\n').warnings == []


@pytest.mark.parametrize(
    ("bound", "sent_to", "warned"),
    [
        ("", "", ["pipeline.out"]),
        ('bind_address = "127.0.0.1:9125"\n', "", []),
        ('bind_address = "127.0.0.1:9125"\n', 'address = "127.0.0.1:9125"\n', ["pipeline.out"]),
        ('bind_address = "unix:///run/a.sock"\n', 'address = "unix:///run/b.sock"\n', []),
    ],
)
def test_a_server_that_is_sent_its_own_metrics_is_a_warning_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, sent_to: str, warned: list[str]
) -> None:
    for name in ("STATSD_HOST", "STATSD_PORT"):
        monkeypatch.delenv(name, raising=False)
    loaded = load(tmp_path, f'{STATSD}{bound}[pipeline.out.config]\nbackend = "StatsD"\n{sent_to}')
    assert [warning.key for warning in loaded.warnings] == warned


def test_the_sections_of_ingraind_s_example_are_taken_as_they_stand_there_real(tmp_path: Path) -> None:
    text = STATSD + 'bind_address = "127.0.0.1:8125"\nflush_interval = "10000"\n'
    text += '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Osquery"\ninterval_ms = 10000\n'
    text += '[[probe.config.queries]]\nquery = "SELECT user_time, name from processes"\nname = "process_user_time"\n'
    text += 'measurement = "user_time"\nmeasurement_type = "count"\nrun_at_start = true\n'
    text += '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Test"\nname = "test"\nmeasurement = "7"\n'
    text += 'measurement_type = "Count"\naggregation_type = "Counter"\ntags = [["a", "b"], ["at", "$TS"]]\n'
    loaded = load(tmp_path, text + '[pipeline.out.config]\nbackend = "Console"\n')
    assert loaded.warnings == []
    assert [probe.type for probe in loaded.probes] == ["StatsD", "Osquery", "Test"]
    assert loaded.probes[1].settings.queries[0].aggregation_type == "counter"


QUERY = 'type = "Osquery"\nqueries = [{{name = "a", measurement = "b", measurement_type = "{}"{}}}]'


@pytest.mark.parametrize(
    ("probe", "key", "said"),
    [
        ('type = "StatsD"\nflush_interval = "10s"', "flush_interval", "milliseconds"),
        ('type = "StatsD"\nbind_address = "nowhere"\nport = 1', "port", "unknown key"),
        ('type = "StatsD"\nbind_address = ":"', "bind_address", "HOST:PORT"),
        ('type = "Osquery"', "", "queries is missing"),
        (QUERY.format("count", ""), "queries[0]", "query and pack"),
        (QUERY.format("bits", ', query = "SELECT 1"'), "queries[0].measurement_type", "count, byte"),
        (QUERY.format("byte", ', query = "--x"'), "queries[0].query", "SQL"),
        ('type = "Test"\nname = "a"\ntags = [["a"]]', "tags", "pairs"),
        ('type = "Test"\nname = "a"\nmeasurement = "many"', "measurement", "whole number"),
        ('type = "Test"\nname = ""', "name", "1 to 200"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_probe_without_a_kernel_half_is_told_real(
    tmp_path: Path, probe: str, key: str, said: str
) -> None:
    text = f'[[probe]]\npipelines = ["out"]\n[probe.config]\n{probe}\n[pipeline.out.config]\nbackend = "Console"\n'
    _, path, message = mistakes(tmp_path, text)[0]
    assert path == f"probe[0].config{'.' if key else ''}{key}"
    assert said in message
