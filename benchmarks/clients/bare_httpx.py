"""httpx alone, sending the same bytes to the same actions; the argument is the backend."""

from __future__ import annotations

import sys

import anyio
import httpx

from benchmarks.clients._worker import Cost, Job, Meter, serve

_HEADERS = {"x-rivet-encoding": "bare", "content-type": "application/octet-stream"}
_BODIES = {
    "http": ("action/echo", b"\x02\x00\x02\x81\x07"),
    "sends": ("queue/jobs", b"\x03\x00\x01\x07\x01\x04jobs\x01\x00\x00"),
}


async def _do(job: Job) -> Cost:
    path, body = _BODIES[job.workload]
    url = f"{job.url}/gateway/{job.actor_id}/{path}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)

    async with httpx.AsyncClient(limits=limits) as client:

        async def some(count: int) -> None:
            for _ in range(count):
                response = await client.post(url, content=body, headers=_HEADERS)
                response.raise_for_status()

        async def all(count: int) -> None:
            if job.fan == 1:
                await some(count)
            else:
                async with anyio.create_task_group() as tasks:
                    for _ in range(job.fan):
                        tasks.start_soon(some, count)

        await all(1)
        with Meter(job.count) as meter:
            await all(job.count // job.fan)
    return meter.cost


def main() -> None:
    backend = sys.argv[1]
    serve(lambda job: anyio.run(_do, job, backend=backend))


if __name__ == "__main__":
    main()
