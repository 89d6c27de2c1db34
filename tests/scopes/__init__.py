"""What the scopes promise when they are cancelled, cut off, stalled and overrun."""
