"""The illumination: its angles as data, and the patterns on a DMD that make them."""
