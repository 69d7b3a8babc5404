"""From the scans of a recording to a tomogram file, in this process or in one beside it."""
