"""The help of the programs that a profile's loads run, for who checks arguments without starting a server.

Nothing here loads an HTTP library, but for MLX, whose help takes seconds anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specdash.core.plan import LoadKey
from specdash.core.profile import EngineConfig
from specdash.engines.arguments import ARGPARSE, LLAMA, Complaint, Syntax, complaints
from specdash.engines.cli_programs import locate
from specdash.engines.help_text import Entry, read_entries
from specdash.engines.llama_flags import BRIEF_LIMIT_S, read_flags, resolve, run_briefly

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnHelp:
    """What one program lists in its help. `folder` is where it lies, None where it is no file of its own."""

    shown_as: str
    entries: tuple[Entry, ...]
    syntax: Syntax
    folder: Path | None

    def against(self, args: Sequence[str]) -> tuple[Complaint, ...]:
        """What the program would refuse in `args`."""
        return complaints(args, self.entries, self.syntax, Path(self.shown_as).name)

    def has_variable(self, name: str) -> bool:
        """Whether a variable of the environment sets a flag of the program."""
        return any(entry.variable == name for entry in self.entries)


def helps_of(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    """The help of each program that serves these loads, which are vision models or not; () for other kinds of engine.

    Runs the programs in the environment `env`; EngineError for one that is missing or of another kind.
    """
    return _OF_KIND[config.kind](config, keys, env) if config.kind in _OF_KIND else ()


def _server(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    command, shown_as = resolve(config.program)
    folder = Path(command[0]).resolve().parent if len(command) == 1 else None
    return (OwnHelp(shown_as, read_flags(command, shown_as, env=env).entries, LLAMA, folder),)


def _programs(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    programs = locate(config.program, env)
    chosen = dict.fromkeys(programs.choose(key, vision=vision).name for key, vision in keys)
    paths = {name: programs.paths[name] for name in chosen}
    return tuple(
        OwnHelp(path, programs.flags(name).entries, LLAMA, Path(path).resolve().parent) for name, path in paths.items()
    )


def _mlx(config: EngineConfig, keys: Sequence[tuple[LoadKey, bool]], env: Environment) -> tuple[OwnHelp, ...]:
    from specdash.engines.mlx import resolve as resolve_mlx

    command, _python = resolve_mlx(config.program)
    entries = read_entries(run_briefly([*command, "--help"], config.program, BRIEF_LIMIT_S, env))
    is_server = any("--num-draft-tokens" in entry.names for entry in entries)
    return (OwnHelp(config.program, entries, ARGPARSE, None),) if is_server else ()


_OF_KIND: Mapping[str, Callable[[EngineConfig, Sequence[tuple[LoadKey, bool]], Environment], tuple[OwnHelp, ...]]] = {
    "llama-server": _server,
    "llama-cli": _programs,
    "mlx": _mlx,
}
