"""What the reference leaves out: methods that only the package uses."""

import griffe

INTERNAL = {
    "ActorQueue.plain",
    "ActorWebSocket.is_full",
    "ActorWebSocket.message",
    "ActorWebSocket.notify_when_free",
    "Event.place",
    "Queue.place",
    "StatusStream.push",
    "VirtualTimeLoop.call_at",
    "VirtualTimeLoop.create_connection",
    "VirtualTimeLoop.create_server",
    "VirtualTimeLoop.run_in_executor",
    "VirtualTimeLoop.sock_connect",
    "VirtualTimeLoop.time",
}
"""Methods without an underscore that other parts of the package or the event loop call."""


class Public(griffe.Extension):
    def on_class(self, *, cls: griffe.Class, **kwargs: object) -> None:
        for name in list(cls.members):
            if f"{cls.name}.{name}" in INTERNAL:
                del cls.members[name]

    def on_function(self, *, func: griffe.Function, **kwargs: object) -> None:
        """Show the value of a default that is a private constant."""
        for parameter in func.parameters:
            constant = func.module.members.get(str(parameter.default))
            if str(parameter.default).startswith("_") and constant is not None:
                parameter.default = constant.value
