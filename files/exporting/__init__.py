"""Tomograms in the formats of other programs."""
