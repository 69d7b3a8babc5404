"""Looks for the object in a scan: makes a raw tomogram, of one plane, and finds it there.

One plane is enough: within 2 um of the focus the place of an exact sphere is right to 5 nm sideways
and 0.2 um along z (docs/explanation/drift.md), and nearer to it the more so. Loads torch.
"""

from dataclasses import replace

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.interferograms import InterferogramStack
from measuring.object_place import find_place
from measuring.sighting import ObjectPlace, Sighting
from pipeline.tomograms.torch_device import torch_device
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings

__all__ = ["ObjectLook"]


class ObjectLook:
    """Looks for objects in scans.

    Parameters
    ----------
    config : AcquisitionConfig
        Its reconstruction and device.
    """

    def __init__(self, config: AcquisitionConfig) -> None:
        chosen = ReconstructionSettings(**config.reconstruction.set_values())
        self._settings = replace(chosen, planes=1)
        self._device = torch_device(config.processing.device)
        self._planned: tuple[InterferogramStack, Reconstructor] | None = None

    def __call__(
        self,
        scan: InterferogramStack,
        background: InterferogramStack,
        expected: ObjectPlace | None = None,
    ) -> Sighting:
        """Return where the object is; ``expected`` as for ``find_place``.

        Raises
        ------
        LiveTomoError
            If the scan or its background cannot be reconstructed.
        """
        if self._planned is None or self._planned[0] is not background:
            planned = Reconstructor(background, self._device, self._settings)
            self._planned = (background, planned)
        seen = self._planned[1](scan).tomogram.windowed()
        return find_place(seen.index.cpu().numpy(), seen.voxel_size_um, seen.optics, expected)
