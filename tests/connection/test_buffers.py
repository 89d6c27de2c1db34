"""What holds for every event buffer, whatever is done with it."""

from random import Random

from .buffers import fill


def test_buffers() -> None:
    for seed in range(150):
        fill(Random(seed))
