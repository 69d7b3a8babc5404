"""Small widgets used throughout the window."""
