"""Import of recordings that other programs made: their files, their optics, checks, conversion."""
