"""What lies on the disk: recordings, tomograms, pictures; other programs' files in and out.

The two HDF5 formats (interferograms, tomograms) can be read while they grow. Nothing here starts a
process or opens a window.
"""
