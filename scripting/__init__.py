"""The pieces of livetomo.py: recordings, tomograms and the microscope for scripts and notebooks.

What a function needs is imported when it is called, since torch alone takes seconds to load.
"""
