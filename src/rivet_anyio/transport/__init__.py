"""The only place that touches httpx and streams of bytes."""
