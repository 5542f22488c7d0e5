"""The models of a profile: `[[targets]]` and `[[drafts]]`, which may name files, patterns and folders.

A model that is not on this machine is noted as missing, with the nearest name in its folder, and stays in the profile:
profiles are written on one machine and run on another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from specdash.config.discover import expand, model_stem
from specdash.config.fields import TomlTable
from specdash.config.lines import KeyPath
from specdash.config.mlx_folder import is_mlx_folder
from specdash.config.problems import Findings, escaped, guess, nearest, toml_text
from specdash.core.engine_kinds import KINDS
from specdash.core.methods import WITH_DRAFT_MODEL
from specdash.core.profile import ModelRef

CLASSES = ("auto", "dense-small", "dense-mid", "dense-large", "moe")

_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_NAMES_LOOKED_AT = 10_000


def expand_user(text: str) -> str:
    """`text` with `~` and `$VAR` expanded; what is not set stays as it is."""
    return os.path.expanduser(os.path.expandvars(text))


def absolute(text: str, base: Path) -> Path:
    """The absolute path that `text` means in a file of folder `base`; symbolic links stay."""
    return Path(os.path.abspath(base / expand_user(text)))


def impossible(path: Path) -> str | None:
    """Why nothing can ever be at this path: a name that is too long, a loop of links; None where something may."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def absence(path: Path) -> tuple[str, str] | None:
    """What is wrong with a file that is to be read, and what to do; None when it is there and readable."""
    if os.path.isfile(path):
        return (
            None
            if os.access(path, os.R_OK)
            else (f"cannot be read: {toml_text(str(path))}", f"chmod u+r {escaped(path.name)}")
        )
    if os.path.exists(path):
        return f"is not a regular file: {toml_text(str(path))}", ""
    if (reason := impossible(path)) is not None:
        return f"cannot be a file: {reason}: {toml_text(str(path))}", ""
    what = f"no such file: {toml_text(str(path))}"
    if unset := _VARIABLE.search(str(path)):
        return what, f"The environment variable {unset[1].strip('{}')} is not set"
    if not os.path.isdir(path.parent):
        return what, f"The folder {escaped(str(path.parent))} does not exist"
    try:
        with os.scandir(path.parent) as found:
            names = [entry.name for entry in islice(found, _NAMES_LOOKED_AT)]
    except OSError:
        return what, f"The folder {escaped(str(path.parent))} cannot be read"
    close = nearest(path.name, [name for name in names if name.lower().endswith(path.suffix.lower())])
    return what, "" if close is None else f"Nearest name there: {toml_text(close)}"


def read_models(
    tables: Sequence[TomlTable], base: Path, *, are_targets: bool, by_name: bool = False
) -> tuple[list[ModelRef], dict[str, list[str]]]:
    """The models of all entries, and for each entry's label the labels of its models (for `sweep.pairs`).

    `by_name`: the kind of engine finds its models itself, so that an entry may have a `model` name in place of a path.
    """
    models: list[ModelRef] = []
    groups: dict[str, list[str]] = {}
    for table in tables:
        found = _read_entry(table, base, are_targets=are_targets, by_name=by_name)
        for model in found:
            earlier = next((other for other in models if other.label == model.label), None)
            if earlier is not None:
                what = f"label {toml_text(model.label)} is already that of {earlier.key}"
                todo = "Give each its own label" if not model.from_pattern else "Narrow the pattern, or list the files"
                table.findings.problem(table.at("label" if "label" in table.raw else "path"), what, todo)
            models.append(model)
            groups.setdefault(model.label, []).append(model.label)
        label = table.raw.get("label")
        if isinstance(label, str) and len(found) > 1:
            groups.setdefault(label, []).extend(model.label for model in found)
    return models, groups


def _read_entry(table: TomlTable, base: Path, *, are_targets: bool, by_name: bool) -> list[ModelRef]:
    """The models that one entry names: one for a file or a name, any number for a pattern or folder."""
    label = table.text("label", "")
    text = table.text("path", "")
    model = table.text("model", "") if by_name else ""
    if not by_name and table.ask("model") is not None:
        by_name_kinds = " and ".join(sorted(toml_text(kind.name) for kind in KINDS.values() if kind.by_name))
        table.findings.problem(table.at("model"), f"is for kind = {by_name_kinds}", "Name the file with path")
    mmproj, model_class, method = None, "auto", "auto"
    if are_targets:
        model_class = table.choice("class", "auto", CLASSES)
        mmproj = _mmproj(table, base)
    else:
        method = table.choice("method", "auto", ("auto", *sorted(WITH_DRAFT_MODEL)))
    if not text:
        if by_name and (model or label):
            line = table.findings.line(table.at("model" if model else "label"))
            return [ModelRef(label or escaped(model), None, mmproj, model_class, model, method, _key(table), line)]
        if table.raw.get("path", "") == "" and (by_name or "model" not in table.raw):
            todo = 'Add path = "…", a model file, a pattern or a folder'
            todo += ', or model = "…", its name on the server' if by_name else ""
            table.findings.problem(table.at("path") if "path" in table.raw else table.path, "has no path", todo)
        return []
    path = absolute(text, base)
    is_folder = os.path.isdir(path) and is_mlx_folder(path)
    has_wildcard = any(char in text for char in "*?[") and not os.path.exists(path)
    is_pattern = not is_folder and (os.path.isdir(path) or has_wildcard)
    paths = _matches(table, path, base) if is_pattern else [path]
    if not is_pattern and not is_folder and (reason := absence(path)) is not None:
        table.findings.lacks(table.at("path"), *reason)
    line = table.findings.line(table.at("path"))
    return [
        ModelRef(
            label=" ".join(part for part in (label, model_stem(one) if len(paths) > 1 else "") if part)
            or model_stem(one),
            path=one,
            mmproj=mmproj,
            model_class=model_class,
            model=model,
            method=method,
            key=_key(table),
            line=line,
            from_pattern=is_pattern,
        )
        for one in paths
    ]


def path_key(model: ModelRef) -> KeyPath:
    """Where in the file the path of a model is."""
    return (model.key.partition("[")[0].partition(".")[0], *map(int, re.findall(r"\[(\d+)]", model.key)), "path")


def _mmproj(table: TomlTable, base: Path) -> Path | None:
    """`mmproj`: the projector file of a vision model; None for a model that takes text alone."""
    text = table.text("mmproj", "")
    if not text:
        return None
    path = absolute(text, base)
    if (reason := absence(path)) is not None:
        table.findings.lacks(table.at("mmproj"), *reason)
    return path


def _key(table: TomlTable) -> str:
    """The entry's path key, "targets[0].path"."""
    name, *index = table.path
    return f"{name}[{index[0]}].path" if index else f"{name}.path"


def _matches(table: TomlTable, path: Path, base: Path) -> list[Path]:
    """The models of a pattern or folder; the pattern itself, noted as missing, when there are none."""
    found = [Path(os.path.abspath(base / one)) for one in expand(str(path), base)]
    good = [one for one in found if not any("\ud800" <= char <= "\udfff" for char in str(one))]
    if len(good) < len(found):
        odd = next(one for one in found if one not in good)
        table.findings.lacks(table.at("path"), f"a file name is not UTF-8: {toml_text(str(odd))}", "Rename the file")
    if good:
        return good
    what = "no .gguf or MLX model in the folder" if os.path.isdir(path) else "no .gguf or MLX model matches"
    table.findings.lacks(table.at("path"), f"{what} {toml_text(str(path))}")
    return [path]


def same_label_two_files(findings: Findings, targets: Sequence[ModelRef], drafts: Sequence[ModelRef]) -> None:
    """Reports a label that means one file as a target and another as a draft: results name models by label alone."""
    by_label = {target.label: target for target in targets}
    for draft in drafts:
        target = by_label.get(draft.label)
        if target is not None and target.path != draft.path:
            what = f"label {toml_text(draft.label)} is that of another file at {target.key}"
            findings.problem(path_key(draft), what, "Give each file a label of its own")


def read_pairs(
    sweep: TomlTable, targets: Mapping[str, Sequence[str]], drafts: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, str], ...] | None:
    """`sweep.pairs` as (target label, draft label); None for "all". The label of a pattern stands for all it found."""
    one = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
    value = sweep.ask("pairs", "all", {"anyOf": [{"const": "all"}, {"type": "array", "items": one}]})
    path = sweep.at("pairs")
    findings = sweep.findings
    if value == "all":
        return None
    if not isinstance(value, list) or not any(isinstance(pair, list) for pair in value):
        sweep.wrong("pairs", '"all" or a list of pairs', 'For example pairs = [["target label", "draft label"]]')
        return None
    pairs: list[tuple[str, str]] = []
    for index, pair in enumerate(value):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            what = f'must be ["target label", "draft label"]; found {toml_text(pair)}'
            findings.problem((*path, index), what)
            continue
        target, draft = pair
        swapped = target in drafts and draft in targets and (target not in targets or draft not in drafts)
        if swapped:
            findings.problem(
                (*path, index), "names the draft first", f"Write [{toml_text(draft)}, {toml_text(target)}]"
            )
            continue
        for name, known, what in ((target, targets, "target"), (draft, drafts, "draft")):
            if name not in known:
                side = 0 if what == "target" else 1
                todo = guess(name, list(known), f"The {what}s are")
                findings.problem((*path, index, side), f"no {what} is called {toml_text(name)}", todo)
        pairs += [(one, other) for one in targets.get(target, ()) for other in drafts.get(draft, ())]
    return tuple(dict.fromkeys(pairs))
