"""Text that others chose: no character of it is a command or invisible, and every byte can be had back."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.text import bytes_of, harmless, safe

ALL = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def test_what_unicode_calls_ignorable_is_an_escape_and_nothing_that_is_seen_is() -> None:
    if shutil.which("perl") is None:
        pytest.skip("perl, which knows Unicode's properties, is not installed")
    program = r"for (0..0xD7FF, 0xE000..0x10FFFF) { print qq($_\n) if chr =~ /\p{Default_Ignorable_Code_Point}/ }"
    done = subprocess.run(["perl", "-e", program], capture_output=True, text=True, check=True)
    ignorable = {chr(int(code)) for code in done.stdout.split()}
    assert len(ignorable) > 4000
    controls = {one for one in ALL if unicodedata.category(one) in ("Cc", "Zl", "Zp")}
    assert {one for one in ALL if harmless(one) != one} == ignorable | controls


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"curl", "curl"),
        ("naïve 日本".encode(), "naïve 日本"),
        (b"\x1b[2J", "\\x1b[2J"),
        ("pay\u200bpal".encode(), "pay\\u200bpal"),
        ("so\xadft".encode(), "so\\u00adft"),
        ("\u3164".encode(), "\\u3164"),
        ("a\U000e0041b".encode(), "a\\U000e0041b"),
        (b"\x80", "\\x80"),
        (b"a\\x2db", "a\\\\x2db"),
    ],
)
def test_an_escape_is_the_one_that_python_writes(raw: bytes, text: str) -> None:
    assert safe(raw) == text
    assert bytes_of(text) == raw


@given(
    st.binary() | st.text(st.sampled_from("a\\x2du0Uéж\u200b\xad\u202e\ufe0f\U000e0041\U0001f600\n")).map(str.encode)
)
def test_all_bytes_can_be_had_back(raw: bytes) -> None:
    text = safe(raw)
    assert bytes_of(text) == raw
    assert harmless(text) == text
    text.encode()
