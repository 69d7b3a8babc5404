"""Measured fields as they are sent to the quality check, and as a regularizer takes them."""

from dataclasses import replace

import numpy as np
import torch

from acquisition.optics import Optics
from pipeline.wire.measured_light import LightPlan, MeasuredLight
from reconstruction.field_inversion import FieldInversion
from reconstruction.geometry import Views
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.tomogram import Spectrum
from reconstruction.wave_vectors import WaveVectors

__all__ = ["PlannedLight", "light_of"]


def light_of(fields: MeasuredFields) -> MeasuredLight | None:
    """Return fields as they are sent; None for a rotated sample, which the model does not know."""
    views = fields.inversion.views
    if views.rotations is not None:
        return None
    vectors = views.vectors
    plan = LightPlan(
        vectors.carrier,
        tuple((float(x), float(y)) if np.isfinite(x) else None for x, y in vectors.k),
        vectors.unusable,
        vectors.outside,
        vectors.overlapping,
        fields.left_out,
        views.pixel_size_um,
        fields.inversion.settings,
    )
    return MeasuredLight(plan, fields.values.cpu().numpy())


class PlannedLight:
    """Makes spectra of fields that were sent; the plan is kept from scan to scan."""

    def __init__(self) -> None:
        self._key: object = None
        self._inversion: FieldInversion | None = None

    def spectrum(self, light: MeasuredLight, optics: Optics) -> Spectrum:
        """Return the spectrum of a scan, which carries its fields."""
        inversion = self._planned(light, optics)
        values = torch.from_numpy(np.array(light.values))  # its own copy: messages are read-only
        left_out = light.plan.left_out
        spectrum, _ = inversion.spectrum(inversion.scattered(values).samples, left_out)
        return replace(spectrum, fields=MeasuredFields(values, inversion, left_out))

    def _planned(self, light: MeasuredLight, optics: Optics) -> FieldInversion:
        plan = light.plan
        key = replace(plan, left_out=()), optics, light.values.shape
        if self._inversion is None or key != self._key:
            k = np.array([(np.nan, np.nan) if one is None else one for one in plan.k], np.float64)
            vectors = WaveVectors(
                plan.carrier, k, plan.unusable, (), plan.outside, plan.overlapping
            )
            shape = light.values.shape[1], light.values.shape[2]
            views = Views(vectors, optics, shape, plan.pixel_size_um)
            self._inversion = FieldInversion(views, plan.settings, torch.device("cpu"))
            self._key = key
        return self._inversion
