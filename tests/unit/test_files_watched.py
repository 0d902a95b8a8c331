"""Directories that are watched and ignored: how they are written down for the kernel half, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.config import ConfigError, load
from ingrain.grains.files import FilesSettings
from ingrain.grains.watched import names, tree_of

TOML = (
    '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "Files"\n{}\n[pipeline.out.config]\nbackend = "Console"\n'
)

paths = st.lists(st.sampled_from([b"a", b"b", b"ab"]), max_size=5).map(tuple)


@given(st.dictionaries(paths, st.sampled_from([1, 2]), max_size=6), paths)
def test_following_the_tree_finds_the_nearest_directory_with_a_rule(
    verdicts: dict[tuple[bytes, ...], int], path: tuple[bytes, ...]
) -> None:
    tree = tree_of(verdicts)
    verdict, above = verdicts.get((), 0), 0
    for name in path:
        if (above, name) not in tree:
            break
        above, said = tree[above, name]
        verdict = said or verdict
    nearest = [verdicts[path[:depth]] for depth in range(len(path) + 1) if path[:depth] in verdicts]
    assert verdict == (nearest[-1] if nearest else 0)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/", ()),
        ("//", ()),
        ("/etc", (b"etc",)),
        ("/etc/", (b"etc",)),
        ("/etc//ssl/../pki/.", (b"etc", b"pki")),
        ("/...", (b"...",)),
        ("/.", ()),
        ("/..", ()),
        ("/a/b\udcff", (b"a", b"b\xff")),
    ],
)
def test_a_directory_is_the_same_however_it_is_written(path: str, parts: tuple[bytes, ...]) -> None:
    assert names(path) == parts


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('monitor_dirs = ["etc"]', "'etc' is not an absolute path; a directory begins with a slash"),
        ('ignore_dirs = [""]', "'' is not an absolute path"),
        ("monitor_dirs = []", "no directory is watched; leave it out to watch all"),
        ('monitor_dirs = ["/a", "/b"]\nignore_dirs = ["/b/"]', "/b is in monitor_dirs, too"),
        (f'monitor_dirs = ["/{"x" * 256}"]', "has a name of more than 255 bytes"),
        (f'monitor_dirs = ["{"/x" * 129}"]', "has 129 names; at most 128 can be told apart"),
        ('monitor_dirs = ["/a\\u0000b"]', "holds a zero byte"),
        ('monitor_dirs = "/etc"', "expected a list"),
        ("interval_ms = 1", "expected a whole number from 10"),
        ("measurements = []", "expected a list that is not empty"),
        ('measurements = ["file.opne"]', "Did you mean file.open?"),
        ('hooks = "magic"', 'expected one of "auto", "fentry", "kprobe"'),
    ],
)
def test_what_cannot_be_watched_is_refused_with_the_reason(lines: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TOML.format(lines))
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert said in str(refused.value)


def test_everything_is_watched_and_nothing_ignored_by_default() -> None:
    made = msgspec.convert({}, FilesSettings)
    assert (made.monitor_dirs, made.ignore_dirs, made.measurements) == (["/"], [], None)
