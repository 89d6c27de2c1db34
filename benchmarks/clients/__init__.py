"""One program for each contender; each does the workloads it is told to on its standard input."""
