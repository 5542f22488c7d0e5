"""The questions of the wizard and what was answered; and the profile that follows from it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from specdash.config.prompts import CATEGORIES
from specdash.config.write import new_profile
from specdash.core.engine_kinds import kind_named, kind_of_format
from specdash.core.model import GGUF, MLX, k_max, k_range
from specdash.core.profile import KMode
from specdash.core.text import human_bytes, one_line, slug
from specdash.errors import StoreError
from specdash.store.disk import write_new
from specdash.ui.tui.discovery import DiscoveredModel, DoctorLine

Page = Literal["target", "drafts", "program", "k", "categories", "samples", "path"]


@dataclass(frozen=True, slots=True)
class WizardQuestion:
    """A page of the wizard. `nothing` is said where there is nothing to choose from.

    `kind`: one is chosen, many are marked, or a text is written. `may_type`: a path may be typed instead.
    """

    page: Page
    title: str
    kind: Literal["one", "many", "text"]
    may_type: bool = False
    nothing: str = ""


QUESTIONS = (
    WizardQuestion(
        "target",
        "Which model shall become faster?",
        "one",
        may_type=True,
        nothing="no models were found; t: type the path of a GGUF file",
    ),
    WizardQuestion(
        "drafts",
        "Which drafts shall be tried on it? (space marks; none: the target alone is measured)",
        "many",
        nothing="no other model was found; enter measures the target alone",
    ),
    WizardQuestion(
        "program",
        "Which program serves?",
        "one",
        may_type=True,
        nothing="no engine was found: pip install 'specdash[embedded]', or t: type the path of a llama-server",
    ),
    WizardQuestion("k", "Which K, the tokens drafted in one step? (up, down, or a list of your own)", "text"),
    WizardQuestion("categories", "Which prompts? (space marks, a: all or none)", "many"),
    WizardQuestion("samples", "How many samples of each step? More make the intervals narrower", "text"),
    WizardQuestion("path", "Where shall the profile be? A new file; nothing is overwritten", "text"),
)
NAME = 32  # columns of a model's name
K_MODES: tuple[KMode, ...] = ("curve", "auto", "search")
DEAR_BYTES = 8 * 2**30  # a model from which on a load takes longer than some samples
MOST_K = 512
MOST_SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class WizardChoice:
    """One thing to choose: its value, words for it, and why it cannot be chosen ("" when it can)."""

    value: str
    text: str
    refusal: str = ""


@dataclass(slots=True)
class Answers:
    """What was answered so far; the defaults are a sensible first profile."""

    target: DiscoveredModel | None = None
    drafts: list[str] = field(default_factory=list)
    program: str = ""
    k: str = "auto"
    categories: list[str] = field(default_factory=lambda: list(CATEGORIES))
    samples: str = "5"
    path: str = ""

    def text_of(self, page: Page) -> str:
        """Return what stands in the field of a page."""
        if page == "path":
            return self.path or f"{slug(Path(self.target.path).stem if self.target else '', 'profile')}.toml"
        return self.k if page == "k" else self.samples if page == "samples" else ""

    def take_text(self, page: Page, text: str) -> None:
        """Take what was written on a page. Raises ValueError with a sentence."""
        match page:
            case "k":
                parse_ks(text)
                self.k = text
            case "samples":
                samples_of(text)
                self.samples = text
            case "path":
                parse_new_path(text)
                self.path = text
            case "program":
                if not text.strip():
                    raise ValueError("type a name on PATH or a path")
                self.program = text.strip()

    def take_target(self, model: DiscoveredModel) -> None:
        """Take a target; drafts that do not fit it are left out."""
        self.target = model
        self.drafts = [each for each in self.drafts if each in model.drafts]

    def marked(self, page: Page) -> list[str]:
        """Return what is marked on a page where several are chosen."""
        return self.drafts if page == "drafts" else self.categories

    def is_marked(self, page: Page, value: str) -> bool:
        """Return whether a choice is taken."""
        if page == "target":
            return self.target is not None and self.target.path == value
        if page == "program":
            return self.program == value
        return value in self.marked(page)


def parse_ks(text: str) -> list[int] | KMode:
    """Return the Ks of an answer, or how they are found. Raises ValueError with a sentence."""
    word = text.strip().strip("'\"").lower()
    for mode in K_MODES:
        if word == mode:
            return mode
    parts = [part for part in re.split(r"[\s,;\[\]]+", text) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,4}", part) and 1 <= int(part) <= MOST_K for part in parts):
        raise ValueError(f'K is "curve", "auto", "search", or whole numbers from 1 to {MOST_K} such as 2, 4, 8')
    return sorted({int(part) for part in parts})


def next_mode(text: str, by: int) -> KMode:
    """Return the way to find K that is `by` places below the answer; the first or last where the answer is a list."""
    found = parse_ks(text) if text.strip().lower() in K_MODES else None
    if not isinstance(found, str):
        return K_MODES[0 if by > 0 else -1]
    return K_MODES[max(0, min(len(K_MODES) - 1, K_MODES.index(found) + by))]


def mode_words(answers: Answers) -> list[tuple[str, str]]:
    """Return the ways to find K, each with what it does to this target."""
    target = answers.target
    kind = target.model_class if target is not None else None
    usual = ", ".join(str(k) for k in k_range(kind)) if kind is not None else "by the class of the target"
    largest = f"K = {k_max(kind)}" if kind is not None else "the largest K"
    dear = target is not None and (target.size_bytes or 0) >= DEAR_BYTES
    return [
        (
            "curve",
            f"one load, all Ks: predicted from {largest}, then the best one or two measured"
            + (" (recommended: a load of this target is dear)" if dear else ""),
        ),
        ("auto", f"the usual ones ({usual}), each measured"),
        ("search", "begins with a few Ks, and spends samples where two cannot be told apart yet"),
        ("2, 4, 8", "a list of your own, each measured"),
    ]


def samples_of(text: str) -> int:
    """Return the number of samples of an answer. Raises ValueError with a sentence."""
    if not re.fullmatch(r"[0-9]{1,4}", text.strip()) or not 1 <= int(text) <= MOST_SAMPLES:
        raise ValueError(f"samples are a whole number from 1 to {MOST_SAMPLES}")
    return int(text)


def parse_new_path(text: str) -> Path:
    """Return the new file of an answer. Raises ValueError with a sentence."""
    if not text.strip():
        raise ValueError("the profile needs a name, such as profile.toml")
    path = Path(text.strip()).expanduser()
    path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
    if os.path.exists(path):
        raise ValueError(f"{path} exists already; choose another name, nothing is overwritten")
    if not os.path.isdir(path.absolute().parent):
        raise ValueError(f"there is no folder {path.absolute().parent}")
    return path


def choices(
    page: Page, answers: Answers, models: Sequence[DiscoveredModel], engines: Sequence[DoctorLine]
) -> list[WizardChoice]:
    """Return what can be chosen on a page of choices."""
    if page == "target":
        return [WizardChoice(each.path, model_words(each), each.problem or "") for each in models]
    if page == "drafts" and answers.target is not None:
        target = answers.target
        found = [
            WizardChoice(each.path, model_words(each), target.refusal(each) or "")
            for each in models
            if each.path != target.path
        ]
        return sorted(found, key=lambda choice: bool(choice.refusal))
    if page == "program":
        takes_folder = answers.target is not None and answers.target.is_folder
        return [
            WizardChoice(
                each.program,
                one_line(f"{each.program}: {each.found}"),
                each.todo or each.found if each.state != "ok" else "",
            )
            for each in engines
            if (kind_named(each.kind).model_format == MLX) == takes_folder
        ]
    return [WizardChoice(each, each) for each in CATEGORIES] if page == "categories" else []


def model_words(model: DiscoveredModel) -> str:
    """Return a model in a few words of constant widths."""
    size = human_bytes(model.size_bytes) if model.size_bytes is not None else "?"
    kind = f"{model.model_class or '?':<11} {one_line(model.quantisation or '?', 8):<8}"
    return f"{one_line(model.label, NAME):<{NAME}} {size:>9}  {kind}"


def write(answers: Answers) -> Path:
    """Write the profile to a new file. Raises ValueError with a sentence where that cannot be."""
    assert answers.target is not None
    path = parse_new_path(answers.path)
    every = set(answers.categories) == set(CATEGORIES)
    text = new_profile(
        Path(answers.target.path),
        [Path(each) for each in answers.drafts],
        kind=kind_of_format(MLX if answers.target.is_folder else GGUF),
        program=answers.program,
        file_name=path.name,
        sweep_k=parse_ks(answers.k),
        categories=None if every else [each for each in CATEGORIES if each in answers.categories],
        iterations=samples_of(answers.samples),
    )
    try:
        write_new(path, text)
    except FileExistsError:
        raise ValueError(f"{path} exists already; choose another name, nothing is overwritten") from None
    except StoreError as error:
        raise ValueError(" ".join(filter(None, (f"{error.what}.", error.todo)))) from None
    except ValueError as error:  # a name that no file can have
        raise ValueError(f"{path} cannot be written: {error}") from None
    return path
