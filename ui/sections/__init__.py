"""The three sections through a volume, with overlays, readout and colour bar."""
