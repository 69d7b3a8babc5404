"""Rows of the table of stages: times with quartiles, their floor, and in bare transform pairs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.pages import three_digits

__all__ = ["Row", "row_of", "table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One stage's figures: times in ms, quartiles, and the median in bare transform pairs."""

    stage: str
    size: str
    ms: float
    low_ms: float
    high_ms: float
    floor_ms: float | None
    pairs: float
    turns: int


def row_of(
    stage: str, size: str, times_s: Sequence[float], pair_s: float, floor_s: float | None
) -> Row:
    """Return the row of a stage from its times, the time of a transform pair, and its floor."""
    low, median, high = statistics.quantiles(times_s, n=4, method="inclusive")
    floor_ms = None if floor_s is None else 1e3 * floor_s
    return Row(
        stage,
        size,
        1e3 * median,
        1e3 * low,
        1e3 * high,
        floor_ms,
        median / pair_s,
        len(times_s),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| stage | size | ms | quartiles | floor, ms | times the floor | transform pairs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        floor, above = "", ""
        if row.floor_ms:
            floor, above = three_digits(row.floor_ms), f"{row.ms / row.floor_ms:.1f}"
        middle, low, high = (three_digits(ms) for ms in (row.ms, row.low_ms, row.high_ms))
        lines.append(
            f"| {row.stage} | {row.size} | {middle} | {low} to {high} "
            f"| {floor} | {above} | {row.pairs:.2f} |"
        )
    return "\n".join(lines)
