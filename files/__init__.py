"""Reading and writing files: recordings, tomograms, pictures, import and export.

The two HDF5 formats (interferograms, tomograms) can be read while they grow. Nothing here starts a
process or opens a window.
"""
