"""Export of tomograms to the formats of other programs."""
