"""Keeps an edited queue as a profile, beside the one that the run was started with, which is never rewritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from specdash.config.load import load
from specdash.config.queue_profile import edited, text_of
from specdash.core.commands import NewModel
from specdash.core.state import RunState
from specdash.core.steps import StepState
from specdash.core.text import slug
from specdash.store.disk import PRIVATE_FILE, write_atomic
from specdash.ui.source import Origin

PROFILE = "profile.toml"


def default_name(view: RunState) -> str:
    """The name of the file that a queue is saved to where no other is given."""
    return f"{slug(view.run.name if view.run is not None else '', 'queue')}-edited.toml"


def why_not(origin: Origin | None) -> str | None:
    """Why the queue of a run cannot be saved; None where it can."""
    if origin is None:
        return "no run is open"
    if not origin.is_local:
        return f"the profile of this run is on {origin.host}: save the queue from a dashboard there"
    if not os.path.isfile(Path(origin.path) / PROFILE):
        return f"the profile of this run is gone: {Path(origin.path) / PROFILE}"
    return None


def wanted_path(text: str) -> Path:
    """The file that a text names; raises ValueError with what is wrong with it."""
    if not text.strip() or "\0" in text:
        raise ValueError("give the file a name")
    path = Path(text.strip()).expanduser()
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder")
    if not os.path.isdir(path.absolute().parent):
        raise ValueError(f"the folder {path.absolute().parent} does not exist")
    return path


def save(path: Path, origin: Origin, queue: Sequence[StepState], models: Sequence[NewModel]) -> None:
    """Writes the profile; raises SpecdashError with what went wrong. Costs time: the run's profile is read."""
    profile = load(Path(origin.path) / PROFILE)
    text = text_of(edited(profile, queue, models))
    # It may hold tokens, as the profile of the run does.
    write_atomic(path.resolve() if path.is_symlink() else path, text, PRIVATE_FILE)


def models_of(view: RunState) -> list[NewModel]:
    """The models that a run knows, its own and those that were added to it."""
    steps = view.steps.values()
    roles = {("target", found.step.target) for found in steps} | {("draft", found.step.draft) for found in steps}
    return [
        NewModel(label, role, view.models[label].path)
        for role, label in sorted(roles, key=str)
        if label is not None and label in view.models
    ]
