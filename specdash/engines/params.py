"""The rows of an engine's parameters make its command lines and its requests. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from specdash.core.axes import PARAMS
from specdash.core.engine import Param
from specdash.core.step import Stage

Value = str | int | float


def values_in(params: Iterable[Param], source: object) -> dict[str, Value]:
    """What a request sets of these parameters: its attributes of the same names that are not None."""
    found = {param.name: getattr(source, param.name, None) for param in params}
    return {name: value for name, value in found.items() if value is not None}


def stage_values(params: Iterable[Param], stages: Sequence[Stage]) -> dict[str, Value]:
    """What the first stage of a speculation sets of these parameters: its values of the axes of the same names."""
    names = [param.name for param in params if param.name in PARAMS] if stages else []
    return {name: value for name in names if (value := stages[0].value(name)) is not None}


def start_words(
    params: Iterable[Param], values: Mapping[str, Value], flag_of: Callable[[Param], str | None]
) -> list[str]:
    """The words of a command line that set these parameters, in their order.

    A parameter without a value has its default; what has neither, or no flag of this program, is left out.
    """
    words: list[str] = []
    for param in params:
        value, flag = values.get(param.name, param.default), flag_of(param)
        if value is not None and flag is not None:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def request_fields(params: Iterable[Param], values: Mapping[str, Value]) -> dict[str, Value]:
    """The fields of a request that set these parameters; a parameter without a value has its default."""
    found = {param.field: values.get(param.name, param.default) for param in params if param.field is not None}
    return {field: value for field, value in found.items() if value is not None}


def sampling_params(
    fields: Mapping[str, str] | None = None, flags: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[Param, ...]:
    """The rows for what is generated in a request, where their `fields` are not called as the rows are."""
    rows = (
        ("max_tokens", "tokens to generate"),
        ("temperature", "temperature"),
        ("seed", "seed of the sampling"),
    )
    fields, flags = fields or {}, flags or {}
    return tuple(
        Param(name, "request", flags.get(name, {}), fields.get(name, name), about, f"measure.{name}")
        for name, about in rows
    )


def setting_param(name: str, about: str, *, scope: str = "startup", field: str | None = None, key: str = "") -> Param:
    """The row of a setting without a flag, where a profile has it: `key`, or the key of `[engine]` of the same name."""
    return Param(name, scope, {}, field, about, key or f"engine.{name}")
