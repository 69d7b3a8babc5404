"""The forward model without Born or Rytov: light through a contrast, slice by slice, and back."""
