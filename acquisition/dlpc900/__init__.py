"""TI's DLPC900, the controller of the DLP6500FYE and DLP9000 micromirror devices, over USB.

After TI's programmer's guide DLPU018. ``images`` packs and compresses bit planes, ``packets`` are
the words on the wire, ``controller`` is what a driver does with them. No hardware has run this yet:
docs/how-to/hardware.md says what remains to be checked.
"""
