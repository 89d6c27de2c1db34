"""A model of everything that clients do and suffer, in simulated time, from seeds."""
