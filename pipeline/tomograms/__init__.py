"""Makes a tomogram file from the scans of a recording, in this process or in a child process."""
