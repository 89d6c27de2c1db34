"""Servers of other people's, each a program of its own with the same paths.

Each takes the files of a certificate, of its key, and of who signs clients (empty: none), the
seconds that it keeps idle connections, and the TLS version; it prints its port, and ends with its
standard input.

| path | answer |
|---|---|
| plain | ``hello``, with its length |
| chunks | three chunks |
| large | 8 MiB of ``x`` |
| echo | the body of the request |
| length | the length of that body |
| early | 413, and the body is not read |
| empty, same | 204, 304 |
| port | the client's port |
| cut | ten bytes of a hundred, and the end |
"""
