"""The two HDF5 formats: recordings (interferograms) and tomograms, readable while they grow."""
