"""Words of a user's own command with places for what changes from load to load: `--port {port}`; pure.

Only the places named here are filled, wherever they stand in a word; every other brace is left as it is, so that a word
may be JSON: `{"model":"{draft}","num_speculative_tokens":{k}}`. The same values are in the command's environment, for
scripts that take no arguments: `$SPECDASH_PORT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from specdash.core.axes import AXES, PLACED
from specdash.core.engine import Endpoint, ServerSpec
from specdash.core.plan import LoadKey
from specdash.core.process_spec import PLACEHOLDERS, variable
from specdash.core.secrets import public_words
from specdash.engines.http import HOST

_PLACE = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def values_of(spec: ServerSpec, endpoint: Endpoint) -> dict[str, str]:
    """What goes into each place for one load; a place that the load has nothing for is missing."""
    found: dict[str, object] = {
        "port": endpoint.port,
        "host": HOST,
        "model": spec.model or spec.target or spec.key.target,
        "draft": (spec.draft_model or spec.draft or spec.key.draft) if spec.key.draft is not None else None,
        "k": spec.key.k_startup,
        "method": spec.method,
        **_params(spec.key),
        "config": spec.key.config,
        "alias": endpoint.alias or None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def places_of(key: LoadKey) -> frozenset[str]:
    """The places that a load has something for; its K may not be chosen yet, but it has one where it speculates."""
    optional = {"draft": key.draft, "config": key.config, **_params(key)}
    has = {"k": key.speculates, **{name: value is not None for name, value in optional.items()}}
    return frozenset(name for name in PLACEHOLDERS if has.get(name, True))


def _params(key: LoadKey) -> dict[str, str | None]:
    """The parameters of a load's method; None for those that it has not, or that are left to the program."""
    of_it = {name for name in PLACED if key.speculates and AXES[name].is_of(key.method)}
    found = {name: key.value(name) if name in of_it else None for name in PLACED}
    return {name: None if value is None else AXES[name].plain(value) for name, value in found.items()}


def filled(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """The words with every place filled that has a value."""
    return tuple(_PLACE.sub(lambda match: values.get(match[1], match[0]), word) for word in words)


def with_variables(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """A command that gets the values in its environment too; `env` becomes the program, so it is no process more."""
    return ("env", *(f"{variable(name)}={value}" for name, value in values.items()), *words)


def with_environment(env: Mapping[str, str], words: Sequence[str]) -> tuple[str, ...]:
    """A command as a user would type it, in an environment of its own, with variables in the place of secrets."""
    return public_words(("env", *(f"{name}={value}" for name, value in env.items()), *words) if env else words)


def missing_placeholders(words: Sequence[str], known: frozenset[str]) -> tuple[str, ...]:
    """The places in these words that a load has nothing for, in order."""
    asked = (match for word in words for match in _PLACE.findall(word))
    return tuple(dict.fromkeys(name for name in asked if name not in known))


def complaint(command: Sequence[str], key: LoadKey, known: frozenset[str]) -> str | None:
    """What a launch command asks for and a load has nothing for, in words; None where it has all that is asked."""
    places = missing_placeholders(command, known)
    if not places:
        return None
    asked = ", ".join(f"{{{place}}}" for place in places)
    return f"the launch command asks for {asked}, and the load {key.label!r} has none"
