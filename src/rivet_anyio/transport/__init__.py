"""The only place that touches httpx, wsproto and sockets."""
