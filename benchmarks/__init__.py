"""What the client costs, measured beside its peers: see docs/performance.md."""
