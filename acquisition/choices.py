"""The regularizers and constraints that can be chosen by name.

This is the only list of them, for microscope.toml, the command line, the window and the files. It
is in the lowest package, so that every other one can import it. The code behind a name is imported
when it is used.
"""

from dataclasses import dataclass
from typing import Literal

from acquisition.errors import ConfigurationError

__all__ = [
    "CONSTRAINTS",
    "REFINABLE",
    "REGULARIZERS",
    "VOLUMES",
    "Constraint",
    "RegularizerChoice",
    "check_constraint",
    "check_refine",
    "check_regularizer",
]


@dataclass(frozen=True, slots=True)
class RegularizerChoice:
    """A regularizer that can be chosen.

    Parameters
    ----------
    title : str
        Name shown in the window.
    make : str
        "module:function" that makes it, see ``regularizer.registry``; "" for the raw tomogram.
    volume : str
        Dataset of a tomogram file that holds its results; "" if none does.
    bytes_per_voxel : float
        Peak memory while it runs, beside the raw tomogram's, measured on 1 to 5 million voxels.
    needs_fields : bool
        Whether it needs the fields that a spectrum was made from (``Spectrum.fields``).
    transform_pairs : float
        Processor time for one tomogram, from a cold start, in that of a forward and an inverse
        real transform of its volume; measured on one core, 64 x 140 x 140 voxels. 0: unknown.
    """

    title: str
    make: str = ""
    volume: str = ""
    bytes_per_voxel: float = 0.0
    needs_fields: bool = False
    transform_pairs: float = 0.0


_TV = "regularizer.total_variation.total_variation:make"
REGULARIZERS = {
    "none": RegularizerChoice("No regularizer"),
    "gp": RegularizerChoice(
        "Gerchberg-Papoulis",
        "regularizer.gerchberg_papoulis:make",
        "gp",
        40,
        transform_pairs=23,
    ),
    "tv-fast": RegularizerChoice("Total variation, fast", _TV, "tv", 75, transform_pairs=31),
    "tv": RegularizerChoice("Total variation", _TV, "tv", 75, transform_pairs=103),
    "deep": RegularizerChoice(
        "DeepRegularizer", "regularizer.deep:make", "deep", 110, transform_pairs=34
    ),
    "multislice": RegularizerChoice(
        "Multi-slice inversion",
        "regularizer.scattering.multislice_regularizer:make",
        "multislice",
        150,
        needs_fields=True,
    ),
}

# Regularized volumes of a tomogram file, the best first.
VOLUMES = tuple(dict.fromkeys(r.volume for r in reversed(REGULARIZERS.values()) if r.volume))

Constraint = Literal["auto", "non-negative", "non-positive", "none"]
# Constraints on the sign of the contrast, and their names in the window.
CONSTRAINTS: dict[Constraint, str] = {
    "auto": "Sign: automatic",
    "non-negative": "Denser only",
    "non-positive": "Lighter only",
    "none": "Denser and lighter",
}


# What can be refined on the object itself; "" stands for nothing.
REFINABLE = ("k",)


def check_refine(name: str) -> str:
    """Return what is to be refined on the object.

    Raises
    ------
    ConfigurationError
        If it cannot be.
    """
    if name not in ("", *REFINABLE):
        raise ConfigurationError(
            f"what is refined must be {' or '.join(REFINABLE)} (wave vectors), got {name!r}: "
            "leave it out for none"
        )
    return name


def check_regularizer(name: str) -> None:
    """Raise ConfigurationError unless there is a regularizer of that name."""
    if name not in REGULARIZERS:
        raise ConfigurationError(
            f"regularizer must be one of {', '.join(REGULARIZERS)}, got {name!r}"
        )


def check_constraint(name: str) -> Constraint:
    """Return the name as a ``Constraint``.

    Raises
    ------
    ConfigurationError
        If there is no constraint of that name.
    """
    for known in CONSTRAINTS:
        if name == known:
            return known
    raise ConfigurationError(f"constraint must be one of {', '.join(CONSTRAINTS)}, got {name!r}")
