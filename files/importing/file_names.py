"""Natural order of file names.

Numbers sort by value wherever they stand: frame_2 before frame_10, img.tif before img-1.tif,
angle_-2.5 before angle_0. Whether a minus is a sign or a hyphen, and a point a decimal point or a
separator, is decided from all the names together.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["in_natural_order"]

# No sign after a letter, a digit or a bracket: img-1, 2024-05-01, "Bild (1)-2". A date or a version
# has more than one point.
_NUMBER = re.compile(
    r"(?P<sign>(?:(?<![^\W_])(?<![)\]]))-)?"
    r"(?:(?P<whole>(?<![\d.,])\d+)[.,](?P<part>\d+)(?![.,]?\d)|(?P<digits>\d+))"
)
_SUFFIX = re.compile(r"(\.[a-z][a-z0-9]*)*$")


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a minus and a point are interpreted.

    Parameters
    ----------
    decimals : bool
        Whether 1.5 is one number.
    signed : set of str
        Texts (numbers as #) after which a minus that follows a space is a sign.
    """

    decimals: bool
    signed: set[str]

    def key(self, name: str) -> tuple[list[tuple[bool, float, str]], str]:
        """Return the sort key of a name; suffix and case decide last."""
        folded = name.casefold()
        stem = _stem(folded)
        parts: list[tuple[bool, float, str]] = []
        end = 0
        for match in _NUMBER.finditer(stem):
            text = stem[end : match.start()] + ("" if self._is_sign(stem, match) else _minus(match))
            parts += [(True, 0.0, text)] if text else []
            parts += [(False, number, "") for number in self._numbers(stem, match)]
            end = match.end()
        return [*parts, *([(True, 0.0, stem[end:])] if stem[end:] else [])], name

    def _is_sign(self, stem: str, match: "re.Match[str]") -> bool:
        before = stem[: match.start()]
        return bool(match["sign"]) and (not before.endswith(" ") or _pattern(before) in self.signed)

    def _numbers(self, stem: str, match: "re.Match[str]") -> list[float]:
        sign = -1.0 if self._is_sign(stem, match) else 1.0
        if match["digits"]:
            return [sign * float(match["digits"])]
        if self.decimals:
            return [sign * float(f"{match['whole']}.{match['part']}")]
        return [sign * float(match["whole"]), float(match["part"])]


def in_natural_order(names: Sequence[str]) -> list[str]:
    """Return file names in natural order."""
    stems = [_stem(name.casefold()) for name in names]
    numbers = [(stem, match) for stem in stems for match in _NUMBER.finditer(stem)]
    reading = _Reading(
        _are_decimals(match["part"] for _, match in numbers if match["part"]),
        {_pattern(stem[: match.start()]) for stem, match in numbers if not match["sign"]},
    )
    return sorted(names, key=reading.key)


def _are_decimals(parts: Iterable[str]) -> bool:
    """Return whether the parts are decimals: names with 1.2 and 1.10 are versions."""
    found = set(parts)
    return not (
        len({len(part) for part in found}) > 1
        and any(len(p) > 1 and p.endswith("0") for p in found)
    )


def _stem(name: str) -> str:
    return _SUFFIX.sub("", name)


def _minus(match: "re.Match[str]") -> str:
    return match["sign"] or ""


def _pattern(text: str) -> str:
    return _NUMBER.sub("#", text)
