"""`specdash new`: a commented profile for some models and this machine."""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from specdash.cli import command_parser
from specdash.core.engine_kinds import Kind, kind_of_format
from specdash.core.model import GGUF, MLX
from specdash.core.text import plain
from specdash.errors import Exit, SpecdashError, StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what this command takes."""
    parser.add_argument(
        "target", nargs="?", metavar="TARGET", help="the model to speed up: a GGUF file, or an MLX folder"
    )
    parser.add_argument("drafts", nargs="*", metavar="DRAFT", help="small models of the same family, of the same kind")
    parser.add_argument(
        "--example",
        nargs="?",
        const="",
        metavar="NAME",
        help="write an example that came with specdash instead; without a name, list them",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a new file instead of stdout")


def main(name: str, arguments: list[str]) -> Exit:
    """Writes a profile to stdout or to a new file; warns of a draft that cannot serve the target."""
    parser = command_parser(name)
    options = parser.parse_args(arguments)
    output = Path(options.output) if options.output else None
    if options.example is not None:
        if options.target is not None:
            raise SpecdashError("--example takes no models", "Edit the paths in the example; or leave --example out.")
        if options.example == "":
            return _list_examples()
        text = example_text(options.example)
        if scripts := scripts_of(text):
            where = _scripts_beside(output, scripts) if output is not None else examples_folder() / "scripts"
            print(plain(f"its scripts are in {where}"), file=sys.stderr)
    elif options.target is None:
        parser.error("the following arguments are required: TARGET (or --example)")
    else:
        text = _profile_for(options.target, options.drafts, output)
    if output is None:
        print(text, end="")
        return Exit.OK
    return _written(output, text)


def _profile_for(target_path: str, drafts: list[str], output: Path | None) -> str:
    """The profile of these models; what cannot work is warned of."""
    from specdash.config.discover import read_any
    from specdash.config.write import new_profile
    from specdash.core.model import k_range, vocabulary_conflict

    target = read_any(Path(target_path).expanduser())
    for draft in drafts:
        facts = read_any(Path(draft).expanduser())
        conflict = vocabulary_conflict(target, facts)
        if conflict is not None:
            _warn(f"{draft} cannot draft for this target: {conflict}")
        elif facts.size_bytes >= target.size_bytes:
            _warn(f"{draft} is no smaller than the target, so it cannot speed it up; the target comes first")
    kind = kind_of_format(MLX if os.path.isdir(target.path) else GGUF)
    return new_profile(
        Path(target_path),
        [Path(draft) for draft in drafts],
        kind=kind,
        program=_program(kind),
        k=k_range(target.model_class),
        file_name=output.name if output is not None else "profile.toml",
    )


def _written(output: Path, text: str) -> Exit:
    """Writes a new file, and tells what to do with it; an existing one is left alone."""
    from specdash.store.disk import write_new

    try:
        write_new(output, text)
    except FileExistsError:
        raise SpecdashError(f"{output} exists already", "Choose another name; nothing was overwritten.") from None
    except StoreError as error:
        if os.path.isdir(output.absolute().parent):
            raise
        raise SpecdashError(error.what, "Choose a folder that exists.") from None
    name = shlex.quote(str(output))
    print(plain(f"wrote {output}; next: specdash plan {name}, then specdash --headless {name}"), file=sys.stderr)
    return Exit.OK


def examples_folder() -> Path:
    """The folder of the example profiles: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "examples"
    return installed if os.path.isdir(installed) else package.parent / "profiles"


def example_names() -> list[str]:
    """The names of the examples, without their ending."""
    return sorted(path.stem for path in examples_folder().glob("*.toml"))


def example_text(name: str) -> str:
    """The text of an example profile. Raises SpecdashError where there is none of this name."""
    name = name.removesuffix(".toml")
    if name not in example_names():
        raise SpecdashError(f"{name}: no such example", f"There are: {', '.join(example_names())}.")
    return (examples_folder() / f"{name}.toml").read_text(encoding="utf-8")


def scripts_of(text: str) -> list[Path]:
    """The scripts that came with the examples and that a profile names."""
    return [path for path in sorted((examples_folder() / "scripts").glob("*")) if f"scripts/{path.name}" in text]


def _scripts_beside(profile: Path, scripts: Sequence[Path]) -> Path:
    """The folder beside a new profile that has its scripts; what is there already is left alone."""
    folder = profile.absolute().parent / "scripts"
    try:
        folder.mkdir(exist_ok=True)
        for script in scripts:
            if not os.path.exists(folder / script.name):
                shutil.copy(script, folder / script.name)
    except OSError as error:
        raise SpecdashError(f"{folder}: {error.strerror}", "Choose another folder for the profile.") from error
    return folder


def _list_examples() -> Exit:
    """Prints the names of the examples with what each is about: the first sentence of its comment."""
    from specdash.cli.table import print_table

    rows = []
    for name in example_names():
        comment = itertools.takewhile(lambda line: line.startswith("#"), example_text(name).splitlines())
        about = " ".join(line.lstrip("# ") for line in comment)
        rows.append((name, about.partition(". ")[0].rstrip(".:")))
    print_table(("example", "about"), rows)
    return Exit.OK


def _program(kind: Kind) -> str:
    """What serves models of a kind of engine here: its program that is on PATH, else the one inside specdash."""
    on_path = [each.name for each in kind.programs if not each.package and shutil.which(each.name)]
    return [*on_path, kind.programs[-1].name][0]


def _warn(text: str) -> None:
    print(plain(f"specdash: warning: {text}"), file=sys.stderr)
