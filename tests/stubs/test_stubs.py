"""Modules written from TypeScript registries; tests/real has those written from servers."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import typing
from pathlib import Path
from types import ModuleType

import pytest

from rivet_anyio import ConfigError, ConnectError, TypedActor, TypedEvent, TypedQueue
from rivet_anyio._typed.plain import check_type
from rivet_anyio.stubs import stubs_from_server, stubs_from_typescript
from tests.servers._node import node

from . import expected
from ._project import add, make_project, make_small_project

HERE = Path(__file__).parent
ACTORS = HERE.parent / "servers" / "actors.mjs"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"), "2.2.1")


def written(project: Path, name: str, text: str) -> str:
    path = project / name
    path.write_text(text)
    return stubs_from_typescript(path, node=str(node()))


def load(source: str, directory: Path) -> ModuleType:
    """The module that a source text is; every type in it is one that msgspec can check."""
    path = directory / "loaded_stubs.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("loaded_stubs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loaded_stubs"] = module
    spec.loader.exec_module(module)
    for actor in actors_of(module):
        check_types(actor)
    return module


def actors_of(module: ModuleType) -> list[type[TypedActor]]:
    return [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, TypedActor) and thing is not TypedActor
    ]


def check_types(actor: type[TypedActor]) -> None:
    for name in list(vars(actor)):
        member = getattr(actor, name)
        if isinstance(member, TypedEvent):
            assert member.type is not None
        elif isinstance(member, TypedQueue):
            assert member.response is not None
        elif inspect.iscoroutinefunction(member):
            stub = inspect.unwrap(member)
            for type in typing.get_type_hints(stub, include_extras=True).values():
                check_type(type, name)


@pytest.mark.parametrize("version", ["2.2.1", "2.3.19"])
def test_a_registry_in_typescript(version: str, tmp_path: Path) -> None:
    project = make_project(tmp_path, version)
    add(project, HERE / "registry.ts")
    source = stubs_from_typescript(project / "registry.ts", node=str(node()), export="registry")
    assert source == (HERE / "expected.py").read_text("utf-8")


def test_what_was_written_can_be_used() -> None:
    names = [actor._rivet_name for actor in actors_of(expected)]
    assert names == ["counter", "chatRoom", "probe", "worker", "shapes"]
    for actor in actors_of(expected):
        check_types(actor)


def test_a_registry_without_declared_events(tmp_path: Path) -> None:
    """RivetKit 2.0 has no event declarations: what is broadcast tells them."""
    project = make_project(tmp_path, "2.0.33")
    source = written(
        project,
        "old.ts",
        """
        import { actor, setup } from "rivetkit";
        export default setup({ use: { "chat-room": actor({
            state: { texts: [] as string[] },
            actions: {
                say: (c, text: string) => {
                    c.broadcast("said", text, text.length);
                    c.broadcast("mixed", 1);
                    c.broadcast("mixed", text);
                },
            },
        }) } });
        """,
    )
    module = load(source, tmp_path)
    assert module.ChatRoom.said.type == tuple[str, int | float]
    assert module.ChatRoom.mixed.type == int | float | str
    assert 'class ChatRoom(TypedActor, name="chat-room"):' in source
    assert "async def say(self, text: str) -> None: ..." in source


def test_a_registry_in_javascript(project: Path) -> None:
    """Where nothing has types, the names remain."""
    add(project, ACTORS)
    source = written(
        project,
        "untyped.ts",
        """
        import { actor, queue, setup, UserError } from "rivetkit";
        import { buildActors } from "./actors.mjs";
        setup({ use: buildActors({ actor, UserError, queue }) }).start();
        """,
    )
    names = {actor._rivet_name for actor in actors_of(load(source, project))}
    assert {"counter", "chatRoom", "probe", "worker"} <= names
    assert "# TypeScript knows it as any only." in source


STANDINS = """
class Registry<Actors> { actors!: Actors }
class ActorDefinition<S, P, CS, V, I, D, Actions> { actions!: Actions }
type One = ActorDefinition<{}, undefined, {}, {}, undefined, {}, {
    /** Says "it"
     * on \\ two lines. */
    run(c: unknown, value: Promise<string> | number): void;
}>;
"""
"""What `describe.mjs` goes by, so that TypeScript has little to read."""


def test_what_is_no_registry(tmp_path: Path) -> None:
    project = make_small_project(tmp_path)
    cases = {
        "none.ts": ("export const x = 1;", "has no registry"),
        "unresolved.ts": (
            'import { setup } from "nowhere"; export const registry = setup({});',
            "has no registry that TypeScript knows: Cannot find module 'nowhere'",
        ),
        "several.ts": (
            f"{STANDINS} export const a = new Registry<{{}}>();"
            "export const b = new Registry<{ one: One }>();",
            "exports several registries",
        ),
    }
    for name, (text, message) in cases.items():
        with pytest.raises(ConfigError, match=message):
            written(project, name, text)
    several = project / "several.ts"
    with pytest.raises(ConfigError, match="exports no c"):
        stubs_from_typescript(several, node=str(node()), export="c")
    with pytest.raises(ConfigError, match="names no actors"):
        stubs_from_typescript(several, node=str(node()), export="a")
    module = load(stubs_from_typescript(several, node=str(node()), export="b"), tmp_path)
    assert inspect.getdoc(module.One.run) == 'Says "it"\non \\ two lines.'


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = tmp_path / "lonely.ts"
    with pytest.raises(ConfigError, match="there is no file"):
        stubs_from_typescript(lonely, node=str(node()))
    lonely.write_text("export const x = 1;")
    with pytest.raises(ConfigError, match="npm install --save-dev typescript"):
        stubs_from_typescript(lonely, node=str(node()))
    with pytest.raises(ConfigError, match="cannot be run"):
        stubs_from_typescript(lonely, node=str(tmp_path / "no-node"))
    with pytest.raises(ConfigError, match=r"was not done with .* in 0\.001 s"):
        stubs_from_typescript(lonely, node=str(node()), timeout=0.001)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no program node"):
        stubs_from_typescript(lonely)
    monkeypatch.setenv("PATH", str(node().parent))
    with pytest.raises(ConfigError, match="npm install --save-dev typescript"):
        stubs_from_typescript(lonely)


async def test_no_server() -> None:
    with pytest.raises(ConnectError):
        await stubs_from_server("http://127.0.0.1:9")
