"""The objects of a tomogram: found, measured in size and dry mass, and followed over time."""
