"""Tables that stand in a page of docs/ and are put there by the command that measures them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["DOCS", "markdown", "put"]

DOCS = Path(__file__).resolve().parents[1] / "docs"


def markdown(first: Sequence[str], last: Sequence[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table: words in the ``first`` columns, numbers in the ``last``."""
    lines = [[*first, *last], ["---"] * len(first) + ["---:"] * len(last), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put(page: Path, name: str, table: str) -> None:
    """Replace the table between ``<!-- name -->`` and ``<!-- /name -->``."""
    text = page.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{page} has no place for the table {name}: <!-- {name} -->")
    page.write_text(pattern.sub(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text), encoding="utf-8")
