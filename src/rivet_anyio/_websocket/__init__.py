"""RFC 6455 on one socket. Nothing here knows Rivet."""
