"""Time-lapses: plan, schedule, run, autofocus, and the disk space they need."""
