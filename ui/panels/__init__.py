"""The panels that dock beside the views."""
