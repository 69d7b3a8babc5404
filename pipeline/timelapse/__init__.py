"""A time-lapse: its plan, its schedule, its run, and the room on the disk that it needs."""
