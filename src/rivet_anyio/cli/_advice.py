"""Which actor may have been meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._similar import did_you_mean

if TYPE_CHECKING:
    from .._errors import ActorError
    from ._arguments import Place
    from ._options import Common, Target

__all__ = ["add_advice", "find_alike"]

_MAX_ACTORS = 1000
_TIMEOUT_SECONDS = 2.0
_NOT_THERE = {("actor", "not_found"), ("actor", "not_registered")}


async def add_advice(error: ActorError, common: Common, target: Target) -> None:
    """Note on an error that there is no such actor which others have a name or key like it."""
    is_unknown = (error.group, error.code) in _NOT_THERE
    if is_unknown or "not_registered" in f"{error.message} {error.metadata}":
        advice = await find_alike(common, target.place, creates=target.create)
        if advice is not None:
            error.add_note(advice)


async def find_alike(common: Common, place: Place, *, creates: bool) -> str | None:
    """``did you mean ...?`` with actors of the server; None where none is alike, or none answers.

    Args:
        common: The server.
        place: The actor that is not there.
        creates: Whether a key that is not there would be made.
    """
    import anyio

    with anyio.move_on_after(_TIMEOUT_SECONDS):
        try:
            return await _find_alike(common, place, creates)
        except Exception:  # the error that led here is what counts
            pass
    return None


async def _find_alike(common: Common, place: Place, creates: bool) -> str | None:
    from .._gateway.management import actor_names
    from ._arguments import Place

    if place.id is not None:
        return None
    async with common.client() as client:
        names = await actor_names(client._core)
        if place.name not in names or creates:
            return did_you_mean(place.name, names)
        keys: list[str] = []
        async for actor in client.actor(place.name).list():
            keys.append(_shown(actor.key))
            if len(keys) == _MAX_ACTORS:
                break
    # Without the name, which is the same in all of them.
    found = did_you_mean(_shown(place.key), keys, before=str(Place(place.name)))
    return found or did_you_mean(place.name, names)


def _shown(key: tuple[str, ...]) -> str:
    from ._arguments import Place

    return str(Place("", key)).removeprefix("\\0")
