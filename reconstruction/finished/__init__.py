"""Finished RI volumes of other programs: what of k-space was measured, and its values."""
