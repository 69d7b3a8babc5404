"""Regularization that knows the scattering: the Rytov approximation's own error, taken off."""
