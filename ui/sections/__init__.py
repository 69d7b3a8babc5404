"""The three sections through a volume, with all that is drawn on and beside them."""
