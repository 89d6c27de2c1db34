"""The wire: requests and answers without sockets, and what carries them."""
