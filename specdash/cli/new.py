"""`specdash new`: a commented profile for some models and this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from specdash.cli import command_parser
from specdash.errors import Exit, SpecdashError


def main(name: str, arguments: list[str]) -> Exit:
    """Writes a profile to stdout or to a new file; refuses a draft that cannot serve the target."""
    parser = command_parser(name)
    parser.add_argument("target", metavar="TARGET", help="the GGUF file of the model to speed up")
    parser.add_argument("drafts", nargs="*", metavar="DRAFT", help="GGUF files of small models of the same family")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a new file instead of stdout")
    options = parser.parse_args(arguments)
    from specdash.config.gguf import read_model
    from specdash.config.write import new_profile
    from specdash.core.model import k_range, vocabulary_conflict

    target = read_model(Path(options.target).expanduser())
    for draft in options.drafts:
        conflict = vocabulary_conflict(target, read_model(Path(draft).expanduser()))
        if conflict is not None:
            print(f"specdash: warning: {draft} cannot draft for this target: {conflict}", file=sys.stderr)
    output = Path(options.output) if options.output else None
    text = new_profile(
        Path(options.target),
        [Path(draft) for draft in options.drafts],
        program="llama-server" if shutil.which("llama-server") else "embedded",
        k=k_range(target.model_class),
        file_name=output.name if output is not None else "profile.toml",
    )
    if output is None:
        print(text, end="")
        return Exit.OK
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SpecdashError(f"{output} exists already", "Choose another name; nothing was overwritten.") from None
    except OSError as error:
        raise SpecdashError(f"{output} cannot be written: {error.strerror}") from None
    print(f"wrote {output}; next: specdash plan {output}, then specdash --headless {output}", file=sys.stderr)
    return Exit.OK
