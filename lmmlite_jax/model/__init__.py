"""The mixed model itself: rotation, likelihood, fit. Pure functions of arrays."""
