"""docs/pains.md has all fifteen complaints, each with a test, and names only tests that exist."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/pains.md").read_text(encoding="utf-8")
SECTIONS = {int(number): body for number, body in
            re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)}
pytestmark = pytest.mark.unit


def test_all_fifteen_in_order():
    assert list(SECTIONS) == list(range(1, 16))


@pytest.mark.parametrize("number", SECTIONS)
def test_each_names_tests_that_exist(number):
    named = re.findall(r"`(tests/[\w/]+\.py)`((?: \(`test_\w+)?)", SECTIONS[number])
    assert named
    for path, prefix in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not prefix or f"def {prefix[3:]}" in text


def test_every_file_here_is_on_the_page():
    files = {path.relative_to(ROOT).as_posix() for path in Path(__file__).parent.glob("test_*.py")}
    assert {file for file in files if file not in PAGE} <= {"tests/pains/test_page.py"}
