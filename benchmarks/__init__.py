"""The speed figures of LiveTomo: ratios measured in one run, on a machine that is named."""
