"""The angle scan: camera, stage and DMD made ready, and one frame for each angle."""
