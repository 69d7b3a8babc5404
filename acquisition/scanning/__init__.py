"""The angle scan: sets up camera, stage and DMD, and records one frame per angle."""
