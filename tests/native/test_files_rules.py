"""The rules of Files in the kernel's maps, which need none of its programs, follow the directories that are listed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ingrain.grains.watched import Watched
from ingrain.kernel import maps
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.program import Program

KINDS = {"fentry", "fexit", "kprobe", "kretprobe", "raw_tp", "raw_tracepoint"}
WATCHED, IGNORED = 1, 2  # enum verdict of probes/watched.h


@pytest.fixture
def program() -> Iterator[Program]:
    """The maps of Files, without its programs."""
    with Program("files", {}, skip=KINDS) as program:
        yield program


def verdict(program: Program, path: Path) -> int:
    """What is said of a directory by its names, followed as probes/watched.h does."""
    number, said = 0, 0
    for part in path.parts[1:]:
        kind = "name" if len(part) <= 24 else "long_name"  # SHORT_BYTES of probes/access.h
        name = np.zeros((), program.dtype(kind))
        name["above"], name["name"] = number, part.encode()
        try:
            rule = maps.find(program.maps[f"{kind}s"], name.tobytes(), program.dtype("rule"))
        except KernelError:
            break
        number, said = int(rule["number"]), int(rule["verdict"]) or said
    return said


def test_a_listed_link_is_a_rule_for_where_it_leads_now_and_for_nothing_else(program: Program, tmp_path: Path) -> None:
    """A link to the current release, say: what it led to before is not ignored for ever, nor what is called like it."""
    link, targets = tmp_path / "current", [tmp_path / one for one in ("b/x", "b/y", "a/x", f"b/{'z' * 30}")]
    for target in targets:
        target.mkdir(parents=True)
    link.symlink_to(targets[0])
    watched = Watched(program, ["/"], [str(link)])
    for target in [*targets, targets[0]]:
        link.unlink()
        link.symlink_to(target)
        watched.refresh()
        seen = {one: verdict(program, one) for one in [link, *targets]}
        assert seen == {one: IGNORED if one in {link, target} else 0 for one in [link, *targets]}


def test_a_directory_is_not_ignored_by_a_link_that_its_user_made(program: Program, tmp_path: Path) -> None:
    """Whoever owns it could lead it anywhere, and so hide what is there. Root's links are followed, also several."""
    listed, middle, end = tmp_path / "cache", tmp_path / "middle", tmp_path / "end" / "below"
    end.mkdir(parents=True)
    middle.symlink_to("end/../end")
    listed.symlink_to(middle / "below")
    watched = Watched(program, ["/"], [str(listed)])
    assert verdict(program, end) == IGNORED
    for link in (listed, middle):
        os.lchown(link, 1000, 1000)
        watched.refresh()
        assert verdict(program, end) == 0
        os.lchown(link, 0, 0)
        watched.refresh()
        assert verdict(program, end) == IGNORED
    watched = Watched(program, [str(end)], [str(listed)])
    assert verdict(program, end) == WATCHED, "at equal depth, watching wins"


def test_a_link_to_the_root_ignores_not_everything(program: Program, tmp_path: Path) -> None:
    listed = tmp_path / "cache"
    listed.symlink_to("/")
    os.lchown(listed, 1000, 1000)
    Watched(program, ["/"], [str(listed)])
    rules = maps.get(program.maps["rules"], 0, program.dtype("rules"))
    assert int(rules["root"]) == WATCHED
