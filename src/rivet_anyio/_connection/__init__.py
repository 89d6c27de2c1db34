"""One connection to one actor, for as long as its block lasts."""
