"""The configuration files of a microscope: microscope.toml and the calibration beside it."""
