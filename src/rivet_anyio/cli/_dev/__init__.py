"""The server of `dev`."""
