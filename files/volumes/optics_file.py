"""The TOML with the optics of a finished volume: a few keys, or a microscope.toml's [optics]."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acquisition.configuration.microscope_file import describe_problem, read_toml
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import preset
from reconstruction.finished.finished_volume import KnownOptics

__all__ = ["read_optics_file"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _OpticsFile(BaseModel):
    """The keys; each may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str | None = None
    wavelength_um: Positive | None = None
    numerical_aperture: Positive | None = None
    medium_index: Positive | None = None
    illumination_aperture: Positive | None = None
    pixel_size_um: Positive | None = None  # of the camera: not needed


def read_optics_file(path: Path) -> KnownOptics:
    """Read the optics, at the top of the file or in its table [optics].

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a key or value is wrong.
    """
    settings = read_toml(path)
    settings = settings.get("optics", settings)
    try:
        found = _OpticsFile.model_validate(settings)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        known = list(_OpticsFile.model_fields)
        raise ConfigurationError(f"{path}: {describe_problem(problem, key, known)}") from error
    base = KnownOptics()
    if found.preset is not None:
        optics = preset(found.preset).optics
        base = KnownOptics(optics.wavelength_um, optics.numerical_aperture, optics.medium_index)
    return KnownOptics(
        found.wavelength_um or base.wavelength_um,
        found.numerical_aperture or base.numerical_aperture,
        found.medium_index or base.medium_index,
        found.illumination_aperture,
    )
