"""Random values of every kind: they arrive and come back the same, or are refused by name.

RIVET_ANYIO_VALUES is how many of each kind there are, RIVET_ANYIO_VALUES_SEED where they begin.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from rivet_anyio import Client
from tests.servers import Server
from tests.servers._install import install
from tests.servers._node import node

from .test_actions import has_sets, is_tagged

_COUNT = int(os.environ.get("RIVET_ANYIO_VALUES", "60"))
_SEED = int(os.environ.get("RIVET_ANYIO_VALUES_SEED", "1"))


class Suit(enum.StrEnum):
    HEARTS = "hearts"


class Text(str):
    def __str__(self) -> str:
        return "not what it holds"


class Values:
    """Makes values; the same ones for one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def integer(self) -> int:
        value: int = self.random.randrange(-(2**53), 2**53 + 1) >> self.random.randrange(53)
        return value

    def bigint(self) -> int:
        size = self.random.choice([54, 60, 62, 63, 64, 65, 128, 1000])
        value: int = 2**size + self.random.getrandbits(size - 1)
        return self.random.choice([value, -value])

    def ordinary(self) -> float:
        make: Callable[[], float] = self.random.choice(
            [
                self.random.random,
                lambda: self.random.uniform(-1e6, 1e6),
                lambda: self.random.uniform(1.7e9, 1.8e9),
                lambda: round(self.random.uniform(0, 1000), 2),
                lambda: self.random.gauss(0, 1),
            ]
        )
        return make()

    def any_float(self) -> float:
        bits = self.random.getrandbits(64).to_bytes(8, "big")
        value: float = struct.unpack(">d", bits)[0]
        return value if math.isfinite(value) else -0.0

    def text(self) -> str:
        points = (
            self.random.randrange(self.random.choice([0x80, 0x100, 0x800, 0x10000, 0x110000]))
            for _ in range(self.random.randrange(8))
        )
        text = "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
        return self.random.choice([text, text, Text(text), "$" + text])

    def bytes(self) -> bytes:
        return self.random.randbytes(self.random.randrange(40))

    def date(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(
            milliseconds=self.random.randrange(-(10**12), 4 * 10**12)
        )

    def plain(self) -> Any:
        make = self.random.choice([self.integer, self.bigint, self.text, self.bytes])
        return self.random.choice([None, True, False, 0.5, Suit.HEARTS, make(), make(), make()])

    def nested(self, depth: int = 3) -> Any:
        if depth == 0:
            return self.plain()
        items = [self.nested(depth - 1) for _ in range(self.random.randrange(4))]
        if self.random.random() < 0.5:
            return self.random.choice([items, tuple(items), ["$Set", items], ["$BigInt", "7"]])
        return {self.random.choice([self.text(), Suit.HEARTS]): item for item in items}

    def set(self) -> set[Any]:
        return {self.random.choice([self.integer, self.bigint, self.text])() for _ in range(5)}

    def map(self) -> dict[Any, Any]:
        make = self.random.choice([self.integer, self.bigint, self.ordinary])
        return {0: 1} | {self.random.choice([make(), self.text(), None]): self.plain()}

    def all(self, count: int) -> dict[str, list[Any]]:
        return {
            kind: [getattr(self, kind)() for _ in range(count)]
            for kind in (
                "integer",
                "bigint",
                "ordinary",
                "any_float",
                "text",
                "bytes",
                "nested",
                "set",
                "date",
                "map",
            )
        } | {"not finite": [math.nan, math.inf, -math.inf]}


def refused_kinds(server: Server, encoding: str) -> set[str]:
    tagged = set[str]() if is_tagged(server, encoding) else {"date", "map", "not finite"}
    return tagged if has_sets(server, encoding) else tagged | {"set"}


def is_same(sent: Any, found: Any) -> bool:
    """Whether this came back: JavaScript knows no tuples and no floats beside its numbers."""
    if isinstance(sent, enum.Enum):
        sent = sent.value
    if isinstance(sent, (list, tuple)):
        return (
            isinstance(found, list) and len(sent) == len(found) and all(map(is_same, sent, found))
        )
    if isinstance(sent, dict):
        # JavaScript puts keys like "7" first, and some versions sort them.
        return (
            isinstance(found, dict)
            and set(map(plain_key, sent)) == set(found)
            and all(is_same(item, found[plain_key(key)]) for key, item in sent.items())
        )
    if isinstance(sent, float) and math.isnan(sent):
        return isinstance(found, float) and math.isnan(found)
    if isinstance(sent, (int, float)) and not isinstance(sent, bool):
        return type(found) in (int, float) and sent == found
    return type(found) in type(sent).__mro__ and sent == found


def plain_key(key: Any) -> Any:
    return str.__str__(key) if isinstance(key, str) else key


async def those_that_travel(
    call: Callable[[list[Any]], Any], values: list[Any]
) -> tuple[list[Any], list[Any]]:
    """The values that were not refused, and what came back."""
    values = list(values)
    while True:
        try:
            return values, await call(values)
        except TypeError as error:
            found = re.match(r"args\[\d\]\[(\d+)\]: .*would not arrive exactly", str(error))
            if found is None:
                raise
            del values[int(found[1])]


async def test_random_values_come_back(
    client: Client, server: Server, encoding: str, key: list[str]
) -> None:
    made = Values(_SEED).all(_COUNT)
    handle = client.probe.get_or_create(key)
    rounds = encoding == "json" and server.version.startswith("2.3")
    async with handle.connect() as conn:
        events = conn.events("values")

        async def event(values: list[Any]) -> Any:
            await conn.emit("values", values)
            return await events.receive()

        for kind, values in made.items():
            if kind in refused_kinds(server, encoding):
                with pytest.raises(TypeError, match=r"^args\[0\]\[0\]"):
                    await handle.echo(values)
                continue
            for call in (handle.echo, conn.echo, event):
                sent, found = await those_that_travel(call, values)
                for one, other in zip(sent, found, strict=True):
                    assert is_same(one, other), (kind, one, other)
                assert len(sent) == len(values) or (
                    rounds and kind in ("ordinary", "any_float") and len(sent) > 0.9 * len(values)
                )
        # All of them in one message, and JavaScript's own view of numbers.
        batch = {
            kind: [one for one in values if one == 0 or not isinstance(one, float)]
            for kind, values in made.items()
            if kind not in refused_kinds(server, encoding)
        }
        assert is_same(batch, await conn.echo(batch))
        for one in made["integer"][:20]:
            assert await conn.describe(one) == f"number:{one}"
        for one in made["bigint"][:20]:
            assert await conn.describe(one) == f"bigint:{one}"


async def test_params_arrive_exactly(
    client: Client, server: Server, encoding: str, key: list[str]
) -> None:
    values = Values(_SEED)
    params: dict[str, Any] = {"name": Text("n\x7fä"), Suit.HEARTS: [Suit.HEARTS, -0.0, 2**53]}
    params["integers"] = [values.integer() for _ in range(30)]
    params["floats"] = [round(values.ordinary(), 13) for _ in range(30)]
    handle = client.probe.get_or_create(key, params=params)
    assert is_same(params, await handle.connParams())
    async with handle.connect() as conn:
        assert is_same(params, await conn.connParams())


async def test_queued_values_arrive_exactly(
    client: Client, server: Server, encoding: str, key: list[str]
) -> None:
    if server.version.startswith("2.0"):
        pytest.skip("2.0 has no queues")
    worker = client.worker.get_or_create(key)
    values = Values(_SEED)
    sent, _ = await those_that_travel(
        lambda items: client.probe.get_or_create(key).echo(items),
        [values.ordinary() for _ in range(_COUNT)] + [values.integer() for _ in range(_COUNT)],
    )
    with anyio.fail_after(60):
        result = await worker.send_and_wait("jobs", sent, timeout=30.0)
    assert is_same(sent, result.response["done"])
    assert is_same([sent], await worker.processed())


# RivetKit's own client


def describe(value: Any) -> Any:
    """What a value is, in the words of exchange.mjs."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 2**53:
        return f"bigint {value}"
    if isinstance(value, (int, float)):
        number = math.nan if value != value else float(value)
        return f"number {struct.pack('>d', number).hex()}"
    if isinstance(value, str):
        return f"string {str.__str__(value).encode().hex()}"
    if isinstance(value, dt.datetime):
        return (
            f"date {(value - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(milliseconds=1)}"
        )
    if isinstance(value, bytes):
        return f"bytes {value.hex()}"
    if isinstance(value, (set, frozenset)):
        return ["set", *in_order(map(describe, value))]
    if isinstance(value, dict):
        kind = "object" if all(isinstance(key, str) for key in value) else "map"
        pairs = ([describe(key), describe(item)] for key, item in value.items())
        return [kind, *in_order(pairs)]
    return ["array", *map(describe, value)]


def in_order(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, separators=(",", ":")))


def exchange(version: str, endpoint: str, key: str, directory: Path) -> tuple[Any, Any]:
    """What JavaScript read, and what it stored."""
    shutil.copy(Path(__file__).parent / "exchange.mjs", directory)
    (directory / "node_modules").symlink_to(install(version) / "node_modules")
    done = subprocess.run(
        [str(node()), "exchange.mjs", endpoint, key, str(_SEED)],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # RivetKit logs to stdout, too.
    read, stored = (line for line in done.stdout.splitlines() if line[:1] in ("[", "{"))
    return json.loads(read), json.loads(stored)


async def test_exchange_with_javascript(
    client: Client, server: Server, encoding: str, key: list[str], tmp_path: Path
) -> None:
    name = "/".join(key)
    probe = client.probe.get_or_create([name])
    made = Values(_SEED).all(_COUNT)
    mine = {}
    for kind, values in made.items():
        if kind not in refused_kinds(server, encoding):
            mine[kind], _ = await those_that_travel(probe.echo, values)
    await probe.remember("python", mine)
    read, stored = await anyio.to_thread.run_sync(
        exchange, server.version, server.endpoint, name, tmp_path
    )
    assert read == describe(mine)
    tagged = ("sets", "dates", "maps", "odd")
    carried = [kind for kind in stored if encoding == "bare" or kind not in tagged]
    async with probe.connect() as conn:
        for recall in (probe.recall, conn.recall):
            for kind in carried:
                assert describe(await recall(kind)) == stored[kind], kind
