"""S3: what the settings and the environment may say. What it does with a server is tested in tests/servers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hostile import SLOW_HANDSHAKE, Answer, drip, for_ever, hostile, told
from hypothesis import given
from hypothesis import strategies as st

from ingrain import config
from ingrain.account import Station
from ingrain.backends.s3 import S3, S3Settings

SECRET = "S3cretW0rd"
FILE = """\
[[probe]]
pipelines = ["s3"]
[probe.config]
type = "Network"
[pipeline.s3.config]
backend = "S3"
"""


def started(**settings: str) -> S3:
    """A backend that was made, and has let go of its spool."""
    made = S3(S3Settings(**{"endpoint_url": "http://127.0.0.1:9", **settings}), Station("s3"))  # type: ignore[arg-type]
    made.close()
    return made


def credentials() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-central-1"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_S3_BUCKET", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/state:{tmp_path}/other")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("bucket", "My_Bucket", "no name of a bucket"),
        ("bucket", "s3://logs", "without s3://"),
        ("bucket", "logs/ingrain", "`prefix` is for that"),
        ("bucket", "ab", "3 to 63"),
        ("bucket", "192.0.2.1", "no name of a bucket"),
        ("bucket", "a..b", "no name of a bucket"),
        ("region", "eu central", "no name of a region"),
        ("endpoint_url", "minio:9000", 'expected "http://HOST:PORT"'),
        ("endpoint_url", "ftp://minio", 'expected "http://HOST:PORT"'),
        ("endpoint_url", "http://", 'expected "http://HOST:PORT"'),
        ("endpoint_url", "http://minio:port", 'expected "http://HOST:PORT"'),
        ("endpoint_url", "https://key:hunter2@minio", "credentials never stand in this file"),
        ("endpoint_url", "http://[::1", 'expected "http://HOST:PORT"'),
        ("prefix", "a\\nb", "control character"),
        ("prefix", "x" * 513, "longer than 512 bytes"),
        ("roll_mb", "0", "from 1 to 1024"),
        ("format", "csv", "jsonl"),
        ("spool", "spool", "from / on"),
        ("spool", "/a\\u0000b", "from / on"),
        ("spool_max_mb", 127, "at least 128, room for two objects of roll_mb"),
        ("spool_max_mb", 0, "from 1"),
        ("spool_max_age_s", 0, "from 1"),
        ("concurrency", 17, "from 1 to 16"),
    ],
)
def test_a_mistake_is_told_on_its_line_before_anything_runs(
    tmp_path: Path, key: str, value: str | int, said: str
) -> None:
    file = tmp_path / "ingrain.toml"
    file.write_text(f'{FILE}{key} = "{value}"\n' if isinstance(value, str) else f"{FILE}{key} = {value}\n")
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (7, f"pipeline.s3.config.{key}")
    assert said in problem.message
    assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    "settings",
    [
        {"bucket": "logs.example-1"},
        {"bucket": "arn:aws:s3:eu-central-1:123456789012:accesspoint/logs"},
        {"endpoint_url": "http://[::1]:9000"},
        {"endpoint_url": "https://s3.example"},
        {"region": "eu-central-1", "prefix": "a/ü b"},
    ],
)
def test_what_is_right_is_taken(settings: dict[str, str]) -> None:
    made = S3Settings(**settings)  # type: ignore[arg-type]
    assert {name: getattr(made, name) for name in settings} == settings


@given(st.text(max_size=30) | st.from_regex(r"\Ahttps?://[a-z0-9:@\[\]/?#.%-]{0,20}\Z"))
def test_whatever_stands_as_a_url_is_taken_or_a_mistake(text: str) -> None:
    try:
        made = S3Settings(endpoint_url=text)
    except ValueError as error:
        assert "endpoint_url: " in str(error)  # noqa: PT017 - it is taken, or this is said
    else:
        assert made.endpoint_url == text


def test_without_a_bucket_it_does_not_start_and_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set `bucket` in the pipeline's config, or AWS_S3_BUCKET"):
        started()


def test_the_environment_names_the_bucket_unless_the_file_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_S3_BUCKET", "from-environment")
    assert started()._bucket == "from-environment"
    assert not caplog.records
    assert started(bucket="from-file")._bucket == "from-file"
    assert "AWS_S3_BUCKET is 'from-environment', but the file says bucket = 'from-file'; the file counts" in caplog.text


def test_a_bucket_of_the_environment_that_is_none_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_BUCKET", "s3://logs")
    with pytest.raises(ValueError, match="AWS_S3_BUCKET='s3://logs' in the environment is no name of a bucket"):
        started()


def test_a_profile_that_does_not_exist_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ValueError, match=r"boto3 cannot use .*nobody"):
        started(bucket="logs")


def refused(made: S3) -> str:
    """What is told of an object that could not be sent."""
    with pytest.raises((BotoCoreError, ClientError)) as caught:
        made.put("k.parquet", io.BytesIO(b"x"))
    return made.why(caught.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HTTP_PROXY": f"http://user:{SECRET}@127.0.0.1:9"}, "Failed to connect to proxy URL"),
        ({"HTTP_PROXY": f"http://127.0.0.1:9@{SECRET}@127.0.0.1:9"}, "Failed to connect to proxy URL"),
        ({"AWS_ENDPOINT_URL_S3": f"http://user:{SECRET}@127.0.0.1:9"}, "@127.0.0.1:9/logs/k.parquet"),
        ({"AWS_ENDPOINT_URL": f"http://user:{SECRET}@127.0.0.1:9x"}, "was not a valid URI"),
    ],
)
def test_no_password_of_a_proxy_or_an_endpoint_is_told_when_sending_fails(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in {**credentials(), "AWS_ENDPOINT_URL": "http://127.0.0.2:9", **environment}.items():
        monkeypatch.setenv(name, value)
    made = S3(S3Settings(bucket="logs"), Station("s3"))
    made.close()
    why = refused(made)
    assert said in why
    assert SECRET not in why


def test_no_password_of_an_endpoint_in_a_profile_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "none").write_text(f"[default]\nendpoint_url = http://user:{SECRET}@127.0.0.1:9\n")
    made = S3(S3Settings(bucket="logs"), Station("s3"))
    made.close()
    assert SECRET not in refused(made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", f"socks5://user:{SECRET}@127.0.0.1:9"),
        ("HTTP_PROXY", f"http://user:{SECRET}/x@127.0.0.1:9"),
        ("HTTP_PROXY", f"http://user:{SECRET}#x@127.0.0.1:9"),
        ("HTTP_PROXY", f"http://user:{SECRET}[@127.0.0.1:9"),
        ("AWS_ENDPOINT_URL", f"user:{SECRET}@127.0.0.1:9"),
    ],
)
def test_what_boto3_cannot_use_is_an_error_at_the_start_that_tells_no_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for variable, text in {**credentials(), "AWS_ENDPOINT_URL": "http://127.0.0.2:9", name: value}.items():
        monkeypatch.setenv(variable, text)
    (said,) = S3Settings(bucket="logs").lacking()
    assert "boto3 cannot use what its environment says" in said
    assert SECRET not in said


HEAD = b"HTTP/1.1 200 OK\r\nX: "
CONTINUE = b"HTTP/1.1 100 Continue\r\n"
REFUSAL = b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (drip(HEAD, b"x"), "ReadTimeoutError"),
        (drip(b"HTTP/1.1 ", b"1"), "ReadTimeoutError"),
        (drip(CONTINUE, b"X: y\r\n"), "ReadTimeoutError"),
        (drip(b"", CONTINUE + b"\r\n"), "ReadTimeoutError"),
        (drip(REFUSAL, b"x"), "ReadTimeoutError"),
        (drip(b"HTTP/1.0 500 No\r\n\r\n", b"x"), "ReadTimeoutError"),
        (told(CONTINUE), "ConnectionClosedError"),
        (for_ever(REFUSAL, b"x" * 9999), "500: Internal Server Error"),
        (
            for_ever(HEAD + b"y\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e8\r\n%s\r\n" % (b"x" * 1000)),
            "500: Internal Server Error",
        ),
    ],
)
def test_a_server_that_drips_or_never_ends_holds_no_upload_for_ever_and_little_of_it_is_read(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, said: str
) -> None:
    monkeypatch.setattr("ingrain.backends.bounded._ANSWER_S", 0.5)
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    with hostile(answer) as url:
        assert said in refused(started(bucket="logs", endpoint_url=url.removesuffix("/insert")))


def test_a_handshake_that_never_ends_holds_no_upload_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingrain.backends.s3._CONNECT_S", 0.5)
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    with hostile(SLOW_HANDSHAKE, "https") as url:
        assert "ReadTimeoutError" in refused(started(bucket="logs", endpoint_url=url.removesuffix("/insert")))


def test_a_prefix_ends_with_one_slash_and_begins_with_none() -> None:
    assert [started(bucket="logs", prefix=prefix)._prefix for prefix in ("", "a", "/a/b/")] == ["", "a/", "a/b/"]


def spool_of(file: Path, name: str = "s3") -> str:
    found = config.load(file).pipelines[name].settings.spool
    assert isinstance(found, str)
    return found


def test_a_spool_is_in_the_service_s_state_folder_and_has_its_pipeline_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ingrain.toml"
    file.write_text(FILE)
    assert spool_of(file) == f"{tmp_path}/state/spool/s3"
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert spool_of(file) == "/var/lib/ingrain/spool/s3"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/me")
    for state, place in (("/state", "/state"), ("relative", "/home/me/.local/state"), ("", "/home/me/.local/state")):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert spool_of(file) == f"{place}/ingrain/spool/s3"
    file.write_text(FILE.replace("pipeline.s3", 'pipeline."../../x/y"').replace('["s3"]', '["../../x/y"]'))
    assert spool_of(file, "../../x/y") == "/home/me/.local/state/ingrain/spool/_._.._x_y"


def test_a_user_without_a_home_has_to_name_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    monkeypatch.setattr("pathlib.Path.home", homeless)
    file = tmp_path / "ingrain.toml"
    file.write_text(FILE)
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    assert "spool: this user has no home to keep it in; name a folder" in str(caught.value.problems[0])
    file.write_text(f'{FILE}spool = "/spool"\n')
    assert spool_of(file) == "/spool"


def test_two_pipelines_cannot_have_one_spool(tmp_path: Path) -> None:
    file = tmp_path / "ingrain.toml"
    two = FILE.replace('["s3"]', '["s3", "other"]') + 'spool = "/spool"\n'
    file.write_text(two + '[pipeline.other.config]\nbackend = "S3"\nspool = "/a/..//spool/"\n')
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (10, "pipeline.other.config.spool")
    assert "pipeline s3 has the same spool" in problem.message
