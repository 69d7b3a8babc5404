"""Total variation with a bound at zero: the split-Bregman solver and its parameters."""
