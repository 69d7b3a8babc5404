"""From interferograms to a raw refractive-index tomogram (Fourier diffraction, Rytov)."""
