"""OME-XML (schema 2016-06) of the images: names, voxels, and time and place of every plane.

It is the header of an OME-TIFF. Without the pages it describes an OME-Zarr of several images.
"""

import math
from collections.abc import Sequence
from xml.etree import ElementTree

from files.exporting.exported_image import ExportedImage
from files.positions import StageXYZ

__all__ = ["ome_xml"]

_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"


def ome_xml(images: Sequence[ExportedImage], *, pages: bool) -> bytes:
    """Return the OME-XML of images, UTF-8 encoded.

    Parameters
    ----------
    images : sequence of Image
    pages : bool
        Whether to list the pages of a TIFF file, which holds the images in order.
    """
    root = ElementTree.Element("OME", {"xmlns": _SCHEMA, "Creator": "LiveTomo"})
    root.set("xmlns:xsi", _INSTANCE)
    root.set("xsi:schemaLocation", f"{_SCHEMA} {_SCHEMA}/ome.xsd")
    first = 0
    for number, image in enumerate(images):
        pixels = _pixels(_image(root, number, image), number, image)
        count = math.prod(image.shape[:3])
        if pages:
            _add(pixels, "TiffData", IFD=first, PlaneCount=count)
        else:
            _add(pixels, "MetadataOnly")
        _planes(pixels, image)
        first += count
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _image(root: ElementTree.Element, number: int, image: ExportedImage) -> ElementTree.Element:
    found = _add(root, "Image", ID=f"Image:{number}", Name=image.name)
    if image.begun is not None:
        _add(found, "AcquisitionDate").text = image.begun.isoformat(timespec="milliseconds")
    _add(found, "Description").text = image.provenance
    place = _placed(image.stage_um[0], "{}")
    if image.label or place:
        _add(found, "StageLabel", Name=image.label or image.name, **place)
    return found


def _pixels(parent: ElementTree.Element, number: int, image: ExportedImage) -> ElementTree.Element:
    t, c, z, y, x = image.shape
    sizes = {"SizeX": x, "SizeY": y, "SizeZ": z, "SizeC": c, "SizeT": t}
    about: dict[str, object] = {"DimensionOrder": "XYZCT", "Type": "float", **sizes}
    for axis, size_um in zip("ZYX", image.series.voxel_size_um, strict=True):
        about |= {f"PhysicalSize{axis}": size_um, f"PhysicalSize{axis}Unit": "µm"}
    if image.interval_s is not None:
        about |= {"TimeIncrement": image.interval_s, "TimeIncrementUnit": "s"}
    pixels = _add(parent, "Pixels", ID=f"Pixels:{number}", **about)
    for channel, name in enumerate(image.channels):
        called = f"refractive index, {name}"
        _add(pixels, "Channel", ID=f"Channel:{number}:{channel}", Name=called, SamplesPerPixel=1)
    return pixels


def _planes(pixels: ElementTree.Element, image: ExportedImage) -> None:
    """Add time and stage position of every plane, in page order."""
    seconds = image.seconds
    for t, place in enumerate(image.stage_um):
        about = _placed(place, "Position{}")
        if seconds is not None:
            about |= {"DeltaT": float(seconds[t]), "DeltaTUnit": "s"}
        if not about:
            continue
        for c in range(image.shape[1]):
            for z in range(image.shape[2]):
                _add(pixels, "Plane", TheZ=z, TheT=t, TheC=c, **about)


def _placed(place: StageXYZ, name: str) -> dict[str, object]:
    """Return the known coordinates of a stage position, as attributes."""
    about: dict[str, object] = {}
    for axis, value in zip("XYZ", place, strict=True):
        if math.isfinite(value):
            key = name.format(axis)
            about |= {key: value, f"{key}Unit": "µm"}
    return about


def _add(parent: ElementTree.Element, name: str, **attributes: object) -> ElementTree.Element:
    values = {key: str(value) for key, value in attributes.items()}
    return ElementTree.SubElement(parent, name, values)
