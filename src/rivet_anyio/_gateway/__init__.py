"""How a request reaches an actor."""
