"""TI's DLPC900, the controller of the DLP6500FYE and DLP9000 micromirror devices, over USB.

After TI's programmer's guide DLPU018. ``images`` packs and compresses bit planes, ``packets``
encodes commands and replies, ``controller`` sends them, ``device`` is the SLM device of the core.
It has not been run on hardware yet: docs/how-to/hardware.md lists what remains to be checked.
"""
