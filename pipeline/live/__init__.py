"""The live instrument: its processes, their supervisor, the client, and playback of files."""
