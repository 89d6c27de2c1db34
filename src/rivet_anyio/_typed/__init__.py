"""Actors described by a class."""
