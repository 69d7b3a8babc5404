"""Tests of LiveTomo: ``python launcher.py test``."""
