"""The window: draws the state it receives and sends commands; computes nothing of its own."""
