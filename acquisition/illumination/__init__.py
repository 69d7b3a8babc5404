"""The illumination: angles as data, and the DMD patterns that produce them."""
