"""`specdash new`: a commented profile for some models and this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from specdash.cli import command_parser
from specdash.core.kinds import Kind, kind_of_format
from specdash.core.model import GGUF, MLX
from specdash.core.text import plain
from specdash.errors import Exit, SpecdashError, StoreError


def main(name: str, arguments: list[str]) -> Exit:
    """Writes a profile to stdout or to a new file; warns of a draft that cannot serve the target."""
    parser = command_parser(name)
    parser.add_argument("target", metavar="TARGET", help="the model to speed up: a GGUF file, or an MLX folder")
    parser.add_argument("drafts", nargs="*", metavar="DRAFT", help="small models of the same family, of the same kind")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a new file instead of stdout")
    options = parser.parse_args(arguments)
    from specdash.config.discover import read_any
    from specdash.config.write import new_profile
    from specdash.core.model import k_range, vocabulary_conflict
    from specdash.store.disk import write_new

    target = read_any(Path(options.target).expanduser())
    for draft in options.drafts:
        facts = read_any(Path(draft).expanduser())
        conflict = vocabulary_conflict(target, facts)
        if conflict is not None:
            _warn(f"{draft} cannot draft for this target: {conflict}")
        elif facts.size_bytes >= target.size_bytes:
            _warn(f"{draft} is no smaller than the target, so it cannot speed it up; the target comes first")
    output = Path(options.output) if options.output else None
    kind = kind_of_format(MLX if os.path.isdir(target.path) else GGUF)
    text = new_profile(
        Path(options.target),
        [Path(draft) for draft in options.drafts],
        kind=kind,
        program=_program(kind),
        k=k_range(target.model_class),
        file_name=output.name if output is not None else "profile.toml",
    )
    if output is None:
        print(text, end="")
        return Exit.OK
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


def _program(kind: Kind) -> str:
    """What serves models of a kind of engine here: its program that is on PATH, else the one inside specdash."""
    on_path = [each.name for each in kind.programs if not each.package and shutil.which(each.name)]
    return [*on_path, kind.programs[-1].name][0]


def _warn(text: str) -> None:
    print(plain(f"specdash: warning: {text}"), file=sys.stderr)
