"""The reference pages that are made from the code are current, and say something of everything."""

import re

import pytest

from benchmarks.pages import DOCS
from benchmarks.reference_pages import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes(name: str) -> None:
    written = (DOCS / "reference" / name).read_text("utf-8")
    assert written == PAGES[name](), "make it anew: python -m benchmarks.reference_pages"


def test_every_key_of_a_microscope_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", PAGES["microscope-toml.md"](), re.MULTILINE)
    assert len(rows) > 90
    assert not [key for key, said in rows if not said.strip()]
