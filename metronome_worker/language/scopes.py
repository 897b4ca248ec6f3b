"""What names mean: the modules that ``use`` brings into a scope, and what those modules define.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from metronome_worker.language.diagnostics import Diagnostics, did_you_mean, suggest
from metronome_worker.language.modules import ModulePath
from metronome_worker.language.program import ConnectorDefinition, FlowDefinition, PipelineDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metronome_worker.language.syntax import QualifiedName, Use


class Definitions(Struct):
    """What a module or a flow defines, by name; the kinds have their names apart."""

    connectors: dict[str, ConnectorDefinition] = {}
    pipelines: dict[str, PipelineDefinition] = {}
    flows: dict[str, FlowDefinition] = {}

    def of_kind(self, kind: str) -> Mapping[str, Any]:
        match kind:
            case "connector":
                return self.connectors
            case "pipeline":
                return self.pipelines
            case _:
                return self.flows


class World(Struct, frozen=True):
    """What all files share: the functions, the modules resolved so far with their own ``use``s, and the diagnostics."""

    functions: Mapping[str, tuple[int, int | None]]
    namespaces: frozenset[ModulePath]
    modules: dict[ModulePath, Scope]
    diagnostics: Diagnostics


class Scope(Struct, frozen=True):
    """A file, a flow or a pipeline: what it uses and defines; what it does not know, ``outer`` may."""

    world: World
    definitions: Definitions
    aliases: dict[str, ModulePath]
    outer: Scope | None = None

    def alias(self, name: str) -> ModulePath | None:
        if name in self.aliases:
            return self.aliases[name]
        return self.outer.alias(name) if self.outer else None

    def all_aliases(self) -> dict[str, ModulePath]:
        return (self.outer.all_aliases() if self.outer else {}) | self.aliases

    def define_local(self, kind: str, name: str) -> Any:
        """The definition of this name in this scope or the ones around it, or None."""
        found = self.definitions.of_kind(kind).get(name)
        return found if found is not None or self.outer is None else self.outer.define_local(kind, name)

    def local_names(self, kind: str) -> set[str]:
        return set(self.definitions.of_kind(kind)) | (self.outer.local_names(kind) if self.outer else set())


def make_scope(world: World, uses: Iterable[Use], outer: Scope | None = None) -> Scope:
    """A scope that defines nothing yet; two modules under one name are an error."""
    aliases: dict[str, ModulePath] = {}
    for use in uses:
        name = use.alias.text if use.alias else use.module.name
        path = (*use.module.modules, use.module.name)
        if aliases.get(name, path) != path:
            span = use.alias.span if use.alias else use.module.span
            world.diagnostics.error(
                "duplicate-name",
                f"`{name}` is used for another module already",
                span,
                hint=f"give this one a name of its own: `use {use.module} as other_name;`",
            )
        aliases[name] = path
    return Scope(world=world, definitions=Definitions(), aliases=aliases, outer=outer)


def find_definition(scope: Scope, kind: str, name: QualifiedName) -> Any:
    """What a name stands for, or None; a name with modules that stands for nothing is reported."""
    if not name.modules:
        return scope.define_local(kind, name.name)
    path = find_module(scope, name)
    if path is None:
        return None
    module = scope.world.modules.get(path)
    names = set(module.definitions.of_kind(kind)) if module else set()
    if module and name.name in names:
        return module.definitions.of_kind(kind)[name.name]
    shown = "::".join(path)
    hint = did_you_mean(name.name, names)
    if not hint and names:
        hint = f"it has {', '.join(f'`{known}`' for known in sorted(names)[:8])}"
    others = [k for k in ("connector", "pipeline", "flow") if module and name.name in module.definitions.of_kind(k)]
    if others:
        hint = f"`{name.name}` is a {others[0]} there"
    scope.world.diagnostics.error(
        "unknown-definition", f"the module `{shown}` defines no {kind} `{name.name}`", name.span, hint=hint
    )
    return None


def find_module(scope: Scope, name: QualifiedName) -> ModulePath | None:
    """The module before the last ``::`` of a name; one that nothing brings into scope is reported."""
    world, path = scope.world, scope.alias(name.modules[0])
    if path is None:
        world.diagnostics.error(
            "unknown-module",
            f"no module `{name.modules[0]}` is in use here",
            name.span,
            hint=_hint_for_module(scope, name),
        )
        return None
    for part in name.modules[1:]:
        inner = world.modules[path].aliases.get(part) if path in world.modules else None
        inner = inner or (*path, part)
        if inner not in world.namespaces and inner not in world.modules:
            world.diagnostics.error(
                "unknown-module",
                f"the module `{'::'.join(path)}` has no module `{part}`",
                name.span,
                hint=did_you_mean(part, [known[-1] for known in world.namespaces if known[:-1] == path]),
            )
            return None
        path = inner
    return path


def _hint_for_module(scope: Scope, name: QualifiedName) -> str:
    first = name.modules[0]
    if name.modules in scope.world.namespaces:
        return f"write `use {'::'.join(name.modules)};` and then `{name.modules[-1]}::{name.name}`"
    homes = sorted("::".join(path) for path in scope.world.namespaces if path[-1] == first)
    homes += ["tremor::connectors", "tremor::pipelines"] if first in ("connectors", "pipelines") else []
    homes = [home for home in homes if home.split("::")[-1] == first]
    near = suggest(first, scope.all_aliases())
    if near:
        return f"did you mean `{near}`?"
    return f"add `use {homes[0] if homes else first};` above"
