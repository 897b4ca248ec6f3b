"""Syntax trees to a checked program: every name is resolved, and all that is wrong is reported.  Pure.

Files come with their dependencies first, so that each finds what it uses resolved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from metronome_worker.language import syntax
from metronome_worker.language.diagnostics import Diagnostic, Diagnostics, did_you_mean
from metronome_worker.language.expressions import NO_ROOTS, SETTING_ROOTS, ExpressionScope
from metronome_worker.language.modules import namespaces_of
from metronome_worker.language.names import check_name, check_unique
from metronome_worker.language.program import (
    ConnectorDefinition,
    Creation,
    Deployment,
    FlowDefinition,
    PipelineDefinition,
    Program,
)
from metronome_worker.language.queries import resolve_pipeline
from metronome_worker.language.scopes import Scope, World, find_definition, make_scope
from metronome_worker.language.settings import check_arguments, resolve_parameters, resolve_settings
from metronome_worker.language.source import Span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.language.modules import LoadedModule
    from metronome_worker.language.syntax import DeploymentStatement

CONNECTOR_SETTINGS: Final = (
    "codec", "config", "metrics_interval_s", "postprocessors", "preprocessors", "reconnect",
)  # fmt: skip


def resolve(
    modules: Sequence[LoadedModule], sources: Mapping[str, str], functions: Mapping[str, tuple[int, int | None]]
) -> tuple[Program, list[Diagnostic]]:
    """The program of the last of ``modules``, which is the main file, and all that is wrong with it.

    With errors it is what is left of the program: good for finding more of them, not for running.
    ``functions`` gives the least and the most (None: any) number of arguments by full name.
    """
    diagnostics = Diagnostics()
    world = World(functions=functions, namespaces=namespaces_of(functions), modules={}, diagnostics=diagnostics)
    for module in modules:
        world.modules[module.path] = _resolve_module(world, module)
    main = modules[-1]
    deployments = _resolve_deployments(world.modules[main.path], main, sources[main.source])
    config = [s.setting for s in main.tree.statements if isinstance(s, syntax.ConfigDirective)]
    where = ExpressionScope(scope=world.modules[main.path], place="in a directive", roots=NO_ROOTS)
    settings = resolve_settings(config, where)
    return Program(deployments=deployments, sources=dict(sources), settings=settings), diagnostics.in_order()


def _resolve_module(world: World, module: LoadedModule) -> Scope:
    statements = module.tree.statements
    scope = make_scope(world, [s for s in statements if isinstance(s, syntax.Use)])
    _define(scope, statements, ())
    flows = [s for s in statements if isinstance(s, syntax.DefineFlow)]
    check_unique([flow.name for flow in flows], "flow", world.diagnostics)
    for flow in flows:
        scope.definitions.flows.setdefault(flow.name.text, _resolve_flow(scope, flow))
    return scope


def _define(scope: Scope, statements: Sequence[Any], outer_parameters: tuple[str, ...]) -> None:
    """Add the connectors and pipelines that ``statements`` define to the scope."""
    diagnostics = scope.world.diagnostics
    connectors = [s for s in statements if isinstance(s, syntax.DefineConnector)]
    pipelines = [s for s in statements if isinstance(s, syntax.DefinePipeline)]
    check_unique([connector.name for connector in connectors], "connector", diagnostics)
    check_unique([pipeline.name for pipeline in pipelines], "pipeline", diagnostics)
    for connector in connectors:
        resolved = _resolve_connector(scope, connector, outer_parameters)
        scope.definitions.connectors.setdefault(connector.name.text, resolved)
    for pipeline in pipelines:
        scope.definitions.pipelines.setdefault(pipeline.name.text, resolve_pipeline(scope, pipeline, outer_parameters))


def _resolve_connector(
    scope: Scope, connector: syntax.DefineConnector, outer_parameters: tuple[str, ...]
) -> ConnectorDefinition:
    diagnostics = scope.world.diagnostics
    check_name(connector.name, "connector", diagnostics)
    for setting in connector.settings:
        name = setting.name.text
        if name not in CONNECTOR_SETTINGS:
            diagnostics.error(
                "unknown-setting",
                f"connectors have no setting `{name}`",
                setting.name.span,
                hint=did_you_mean(name, CONNECTOR_SETTINGS)
                or f"the settings of every connector are {', '.join(CONNECTOR_SETTINGS)}; its own go in `config`",
            )
    where = ExpressionScope(
        scope=scope,
        place=f"in the connector `{connector.name.text}`",
        roots=SETTING_ROOTS,
        parameters=tuple(parameter.name.text for parameter in connector.parameters),
        outer_parameters=outer_parameters,
    )
    return ConnectorDefinition(
        name=connector.name,
        kind=connector.kind,
        parameters=resolve_parameters(connector.parameters, scope),
        settings=resolve_settings(connector.settings, where),
        span=connector.span,
    )


def _resolve_flow(module: Scope, flow: syntax.DefineFlow) -> FlowDefinition:
    diagnostics = module.world.diagnostics
    check_name(flow.name, "flow", diagnostics)
    scope = make_scope(module.world, [s for s in flow.statements if isinstance(s, syntax.Use)], module)
    parameters = tuple(parameter.name.text for parameter in flow.parameters)
    _define(scope, flow.statements, parameters)
    creates = [s for s in flow.statements if isinstance(s, syntax.Create)]
    for kind in syntax.InstanceKind:
        check_unique([create.name for create in creates if create.kind is kind], f"{kind.value} instance", diagnostics)
    where = ExpressionScope(
        scope=scope, place=f"in the flow `{flow.name.text}`", roots=SETTING_ROOTS, parameters=parameters
    )
    return FlowDefinition(
        name=flow.name,
        parameters=resolve_parameters(flow.parameters, module),
        connectors=scope.definitions.connectors,
        pipelines=scope.definitions.pipelines,
        creations=tuple(_resolve_creation(create, where) for create in creates),
        connects=tuple(s for s in flow.statements if isinstance(s, syntax.Connect)),
        span=flow.span,
    )


def _resolve_creation(create: syntax.Create, where: ExpressionScope) -> Creation:
    diagnostics = where.scope.world.diagnostics
    kind = create.kind.value
    check_name(create.name, kind, diagnostics)
    name = create.definition or syntax.QualifiedName(modules=(), name=create.name.text, span=create.name.span)
    definition: ConnectorDefinition | PipelineDefinition | None = find_definition(where.scope, kind, name)
    if definition is not None:
        check_arguments(f"{kind} `{name}`", definition.parameters, create.settings, create.name.span, diagnostics)
    return Creation(
        kind=create.kind,
        name=create.name,
        definition=definition,
        definition_name=str(name),
        settings=resolve_settings(create.settings, where),
        span=create.span,
    )


def _resolve_deployments(scope: Scope, main: LoadedModule, text: str) -> tuple[Deployment, ...]:
    diagnostics = scope.world.diagnostics
    deploys = [s for s in main.tree.statements if isinstance(s, syntax.DeployFlow)]
    if not deploys:
        _report_no_deployment(main.tree.statements, main.source, text, diagnostics)
    check_unique([deploy.name for deploy in deploys], "deployment", diagnostics)
    resolved = [_resolve_deployment(scope, deploy) for deploy in deploys]
    return tuple(deployment for deployment in resolved if deployment is not None)


def _resolve_deployment(scope: Scope, deploy: syntax.DeployFlow) -> Deployment | None:
    diagnostics = scope.world.diagnostics
    check_name(deploy.name, "flow", diagnostics)
    name = deploy.definition or syntax.QualifiedName(modules=(), name=deploy.name.text, span=deploy.name.span)
    flow: FlowDefinition | None = find_definition(scope, "flow", name)
    where = ExpressionScope(scope=scope, place="in a deployment", roots=NO_ROOTS)
    settings = resolve_settings(deploy.settings, where)
    if flow is None:
        if not name.modules:
            hint = did_you_mean(name.name, scope.local_names("flow"))
            hint = hint or f"define it: `define flow {name.name} flow … end;`"
            diagnostics.error("unknown-definition", f"there is no flow `{name}` to deploy", name.span, hint=hint)
        return None
    check_arguments(f"flow `{name}`", flow.parameters, deploy.settings, deploy.name.span, diagnostics)
    return Deployment(name=deploy.name, flow=flow, settings=settings, span=deploy.span)


def _report_no_deployment(
    statements: Sequence[DeploymentStatement], source: str, text: str, diagnostics: Diagnostics
) -> None:
    flows = [s for s in statements if isinstance(s, syntax.DefineFlow)]
    if not statements:
        span = Span(source, 0, 0) if text else None
        diagnostics.error(
            "empty-file",
            f"there is nothing in {source}",
            span,
            hint="a deployment defines a flow and deploys it:\ndefine flow main flow … end;\ndeploy flow main;",
        )
        return
    name = flows[-1].name if flows else None
    diagnostics.error(
        "no-deployment",
        "this file deploys no flow",
        name.span if name else statements[-1].span,
        hint=f"add at its end: `deploy flow {name.text if name else 'main'};`",
    )
