"""What a microscope is, as files say it: microscope.toml and the calibration beside it."""
