"""Resolving ``args`` and ``with``, and holding the one to the other.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from metronome_worker.language.diagnostics import did_you_mean
from metronome_worker.language.expressions import NO_ROOTS, ExpressionScope, resolve_expression
from metronome_worker.language.names import check_unique

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.language.diagnostics import Diagnostics
    from metronome_worker.language.scopes import Scope
    from metronome_worker.language.source import Span
    from metronome_worker.language.syntax import Parameter, Setting


def resolve_parameters(parameters: Sequence[Parameter], scope: Scope) -> tuple[Parameter, ...]:
    """The parameters with resolved defaults; ``scope`` is the one around the definition."""
    check_unique([parameter.name for parameter in parameters], "argument", scope.world.diagnostics)
    where = ExpressionScope(scope=scope, place="in a default of `args`", roots=NO_ROOTS)
    return tuple(
        parameter
        if parameter.default is None
        else replace(parameter, default=resolve_expression(parameter.default, where))
        for parameter in parameters
    )


def resolve_settings(settings: Sequence[Setting], where: ExpressionScope) -> tuple[Setting, ...]:
    """The settings with resolved values; none may be given twice."""
    check_unique([setting.name for setting in settings], "setting", where.scope.world.diagnostics)
    return tuple(replace(setting, value=resolve_expression(setting.value, where)) for setting in settings)


def check_arguments(
    what: str, parameters: Sequence[Parameter], settings: Sequence[Setting], span: Span, diagnostics: Diagnostics
) -> None:
    """Report settings that are no argument of ``what``, and required arguments that are not set."""
    names = [parameter.name.text for parameter in parameters]
    for setting in settings:
        name = setting.name.text
        if name not in names:
            hint = did_you_mean(name, names)
            if not hint:
                hint = f"it has {', '.join(f'`{known}`' for known in names)}" if names else "it has no arguments"
            diagnostics.error("unknown-argument", f"the {what} has no argument `{name}`", setting.name.span, hint=hint)
    given = {setting.name.text for setting in settings}
    missing = [p.name.text for p in parameters if p.default is None and p.name.text not in given]
    for name in missing:
        diagnostics.error(
            "missing-argument", f"the {what} needs a value for `{name}`", span, hint=f"add `with {name} = … end`"
        )
