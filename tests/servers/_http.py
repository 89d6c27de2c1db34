"""Just enough of Rivet's HTTP API to ask a server something.

Deliberately not the library that is being tested: when both disagree, one of them is wrong.
"""

import http.client
import json
from typing import Any


class HttpError(Exception):
    """The server answered, but not with success."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body}")
        self.status = status
        self.body = body


def request(port: int, method: str, path: str, body: object = None, timeout: float = 70) -> Any:
    """One JSON request to 127.0.0.1 and its JSON answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(
            method,
            path,
            None if body is None else json.dumps(body),
            {"content-type": "application/json", "x-rivet-encoding": "json"},
        )
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if response.status >= 300:
        raise HttpError(response.status, text)
    return json.loads(text)


def get_or_create(port: int, actor: str, key: str, timeout: float = 70) -> str:
    """The id of the actor with this key (one component, without characters that need escapes)."""
    answer = request(
        port,
        "PUT",
        "/actors?namespace=default",
        {
            "name": actor,
            "key": key,
            "runner_name_selector": "default",
            "crash_policy": "sleep",
        },
        timeout,
    )
    actor_id: str = answer["actor"]["actor_id"]
    return actor_id


def call(
    port: int, actor: str, key: str, action: str, *arguments: object, timeout: float = 70
) -> Any:
    """Call an action of an actor that is created if it does not exist; "nothing" is None."""
    actor_id = get_or_create(port, actor, key, timeout)
    path = f"/gateway/{actor_id}/action/{action}"
    output = request(port, "POST", path, {"args": list(arguments)}, timeout).get("output")
    # How JavaScript's undefined arrives: up to 2.2 not at all, from 2.3 on like this.
    return None if output == ["$Undefined", 0] else output
