"""The columns that tell containers: each row its own, whatever stands in them; and the bounds of what is remembered."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingrain.batch import TEXT
from ingrain.containers.identity import COLUMNS, Identity, columns, nothing
from ingrain.containers.known import Container, Known
from ingrain.containers.paths import Place

_TEXT = st.none() | st.sampled_from(["a", "b", "nginx"])
_IDENTITIES = st.lists(st.none() | st.builds(Identity, _TEXT, _TEXT, _TEXT, _TEXT, _TEXT), min_size=1, max_size=6)


@given(_IDENTITIES.flatmap(lambda all_: st.tuples(st.just(all_), st.lists(st.integers(0, len(all_) - 1), max_size=40))))
def test_each_row_tells_its_own_container(case: tuple[list[Identity | None], list[int]]) -> None:
    identities, numbers = case
    made = columns(np.array(numbers, np.int32), identities)
    assert list(made) == [column.name for column in COLUMNS]
    for place, column in enumerate(made.values()):
        column.validate(full=True)
        assert column.type == TEXT
        told = [identities[number] for number in numbers]
        assert column.to_pylist() == [None if one is None else one[place] for one in told]
        assert column.dictionary.null_count == 0  # a null in a dictionary is one that not every reader expects


def test_columns_share_what_they_have_in_common() -> None:
    numbers = np.arange(1000, dtype=np.int32) % 2
    made = columns(numbers, [Identity("id1", "a", "x"), Identity("id2", "b", "x")])
    indices = {made[name].indices.buffers()[1].address for name in ("container_id", "container", "image")}
    assert len(indices) == 1
    assert made["pod"] is made["namespace"]
    assert len({id(column) for column in nothing(1000).values()}) == 1
    assert nothing(1000)["image"].null_count == 1000


def container() -> Container:
    return Container(Place("ab" * 32), "", Identity())


def test_cgroups_that_are_gone_are_remembered_for_a_while_and_not_for_ever() -> None:
    known = Known(kept=100)
    one = container()
    for number in range(1000):
        known.put(number, one, stays=True)
    assert len(known.cgroups) == 1000
    for number in range(1000):
        known.leave(number)
    assert sorted(known.cgroups) == list(range(900, 1000))
    assert not one.cgroups


def test_cgroups_that_were_only_asked_for_do_not_push_out_those_that_are_there() -> None:
    known = Known(kept=100)
    known.put(7, here := container(), stays=True)
    known.put(8, None, stays=True)
    for number in range(10, 1000):
        known.put(number, None, stays=False)
    assert known.cgroups[7] is here
    assert 8 in known.cgroups
    assert len(known.cgroups) == 102


def test_a_cgroup_that_was_asked_for_first_and_then_seen_stays() -> None:
    known = Known(kept=10)
    known.put(7, one := container(), stays=False)
    known.put(7, one, stays=True)
    for number in range(10, 100):
        known.put(number, None, stays=False)
    assert known.cgroups[7] is one
    assert one.cgroups == {7}


def test_replay_has_the_columns_and_none_of_the_rest() -> None:
    assert {name: column.to_pylist() for name, column in nothing(2).items()} == {
        column.name: [None, None] for column in COLUMNS
    }
    assert isinstance(nothing(0)["pod"], pa.DictionaryArray)
