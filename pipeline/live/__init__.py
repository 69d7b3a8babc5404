"""The live instrument: its processes, what keeps them running, and the client of a window."""
