"""What is chosen by name: regularizers, and what they may take for granted.

The one list of them, for microscope.toml, the command line, the window and the files. It stands at
the bottom of the house, where every room can read it; the code that a name stands for is
imported when it is used.
"""

from dataclasses import dataclass

from acquisition.errors import ConfigurationError

__all__ = ["CONSTRAINTS", "REGULARIZERS", "VOLUMES", "RegularizerChoice", "check_regularizer"]


@dataclass(frozen=True, slots=True)
class RegularizerChoice:
    """A regularizer that can be chosen.

    Parameters
    ----------
    title : str
        As the window shows it.
    make : str
        "module:function" that makes it, see ``regularizer.registry``; empty: the raw tomogram.
    volume : str
        The dataset of a tomogram file that holds its results; empty: none does.
    bytes_per_voxel : float
        The most memory that it takes while it works, beside the raw tomogram's, measured on 1 to 5
        million voxels.
    """

    title: str
    make: str = ""
    volume: str = ""
    bytes_per_voxel: float = 0.0


_TV = "regularizer.total_variation.total_variation:make"
REGULARIZERS = {
    "none": RegularizerChoice("No regularizer"),
    "gp": RegularizerChoice("Gerchberg-Papoulis", "regularizer.gerchberg_papoulis:make", "gp", 40),
    "tv-fast": RegularizerChoice("Total variation, fast", _TV, "tv", 75),
    "tv": RegularizerChoice("Total variation", _TV, "tv", 75),
    "deep": RegularizerChoice("DeepRegularizer", "regularizer.deep:make", "deep", 75),
}

# Regularized volumes of a tomogram file, the best first.
VOLUMES = tuple(dict.fromkeys(r.volume for r in reversed(REGULARIZERS.values()) if r.volume))

# What a regularizer may take for granted about the sign of the contrast, and the window's words.
CONSTRAINTS = {
    "auto": "Sign: automatic",
    "non-negative": "Denser only",
    "non-positive": "Lighter only",
    "none": "Denser and lighter",
}


def check_regularizer(name: str) -> None:
    """Raise ConfigurationError unless there is a regularizer of that name."""
    if name not in REGULARIZERS:
        raise ConfigurationError(
            f"regularizer must be one of {', '.join(REGULARIZERS)}, got {name!r}"
        )
