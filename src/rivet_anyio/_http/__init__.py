"""HTTP/1.1: requests, answers and upgrades."""
