"""``rivet-anyio bench``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import click

from .._app import execute
from .._arguments import VALUE, ArgumentsCommand, read_values
from .._options import Common, Target, common_options, seconds_option, target_options
from .._output import Output

if TYPE_CHECKING:
    from ..._actions import ActionCaller

__all__ = ["bench_command", "summary"]

_WAYS = ("http", "connection")
_QUANTILES = (50, 90, 99)


@click.command(
    "bench",
    cls=ArgumentsCommand,
    short_help="Measure an actor's round trips and throughput.",
    epilog="""\b
Examples:
  rivet-anyio bench counter/visits
  rivet-anyio bench counter/visits getCount --parallel 20 --seconds 10
  rivet-anyio bench counter/visits increment 1 --over connection --count 1000""",
)
@target_options()
@click.argument("action", required=False)
@click.argument("args", nargs=-1, type=VALUE)
@click.option("--string", "-s", is_flag=True, help="Take every argument for a string.")
@click.option(
    "--over",
    type=click.Choice(["both", *_WAYS]),
    default="both",
    help="Call over HTTP, over one connection, or over one after the other.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How many calls are under way at a time.",
)
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many calls.")
@seconds_option("End after this time; else 5 s, or --count calls.", "--seconds")
@common_options
def bench_command(
    common: Common,
    target: Target,
    action: str | None,
    args: tuple[str, ...],
    string: bool,
    over: str,
    parallel: int,
    count: int | None,
    seconds: float | None,
) -> None:
    """Call an action of an actor again and again, and print how long the answers took.

    The action runs as often as it is called. Without ACTION, one is called that the actor does not
    have: nothing of the actor runs but its hooks, and the round trip is measured alone. The first
    call is not counted.
    """
    values = read_values(args, strings=string, strict=False)
    if seconds is None and count is None:
        seconds = 5.0

    async def main(output: Output) -> None:
        async with common.client() as client:
            handle = target.handle(client)
            for way in _WAYS if over == "both" else (over,):
                async with AsyncExitStack() as stack:
                    caller: ActionCaller = handle
                    if way == "connection":
                        caller = await stack.enter_async_context(handle.connect())
                    call = _call(caller, action, values)
                    await call()
                    times, took = await _measure(call, parallel, count, seconds)
                await _print(output, {"over": way, "parallel": parallel, **summary(times, took)})

    execute(common, main, target)


def _call(
    caller: ActionCaller, action: str | None, values: list[Any]
) -> Callable[[], Awaitable[object]]:
    from ..._errors import ActorError
    from .._doctor.actor import NO_ACTION, UNKNOWN

    async def call_nothing() -> None:
        try:
            await caller.action(NO_ACTION)
        except ActorError as error:
            if (error.group, error.code) not in UNKNOWN:
                raise

    return call_nothing if action is None else lambda: caller.action(action, *values)


async def _measure(
    call: Callable[[], Awaitable[object]], parallel: int, count: int | None, seconds: float | None
) -> tuple[list[float], float]:
    """The seconds that each call took, and that all of them took together.

    Calls that are under way when time is over are not counted; what one raises ends all.
    """
    times: list[float] = []
    begun = 0

    async def call_on() -> None:
        nonlocal begun
        while count is None or begun < count:
            begun += 1
            before = perf_counter()
            await call()
            times.append(perf_counter() - before)

    failures: list[Exception] = []

    async def caught(group: anyio.abc.TaskGroup) -> None:
        try:
            await call_on()
        except Exception as exc:
            failures.append(exc)
            group.cancel_scope.cancel()

    began = perf_counter()
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for _ in range(parallel):
                group.start_soon(caught, group)
    took = perf_counter() - began
    if failures:
        raise failures[0]
    return times, took


def summary(times: list[float], took: float) -> dict[str, Any]:
    """Calls per second, and the milliseconds that calls took: each quantile is one of them."""
    ordered = sorted(times)
    found: dict[str, Any] = {
        "calls": len(times),
        "seconds": round(took, 3),
        "calls_per_second": round(len(times) / took, 1),
    }
    if ordered:
        ranks = {f"p{q}": max(0, -(-len(ordered) * q // 100) - 1) for q in _QUANTILES}
        ranks = {"min": 0, **ranks, "max": len(ordered) - 1}
        found["ms"] = {name: round(ordered[rank] * 1000, 3) for name, rank in ranks.items()}
    return found


async def _print(output: Output, found: dict[str, Any]) -> None:
    if output.is_json:
        await output.json(found)
        return
    times = "  ".join(f"{name} {ms:.2f}" for name, ms in found.get("ms", {}).items())
    await output.line(
        f"{found['over']:<10}  {found['calls_per_second']:,.1f} calls/s  "
        f"({found['calls']} calls, {found['parallel']} at a time, {found['seconds']:g} s)"
    )
    await output.line(f"{'':<10}  milliseconds: {times or 'no call was answered in time'}")
