"""What a step costs in a plan of 5,000 steps and in one of 50,000: the time of 18 steps, runs of both in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

from benchmarks.common import Place, Row, place, spread

STEPS, ROUNDS = 18, 3
CATEGORIES = 9  # of the built-in prompts: so many steps has a pair
PAIRS = {"5,000": 555, "50,000": 5555}
RATIO_GOAL = 1.5


def main() -> list[Row]:
    """Interleaved, so that a machine that slows down slows both."""
    times: dict[str, list[float]] = {size: [] for size in PAIRS}
    with place() as here:
        profiles = {size: _profile(here, size, pairs) for size, pairs in PAIRS.items()}
        for _ in range(ROUNDS):
            for size, profile in profiles.items():
                times[size].append(timed_s(here, profile))
    ratios = [large / small for small, large in zip(*times.values(), strict=True)]
    rows = [Row(f"{STEPS} steps in a plan of {size}", "", spread(each, "{:.2f}", " s")) for size, each in times.items()]
    goal = f"at most {RATIO_GOAL:g}"
    return [*rows, Row("the larger over the smaller", goal, spread(ratios, "{:.2f}"), median(ratios) <= RATIO_GOAL)]


def _profile(here: Place, size: str, pairs: int) -> Path:
    """A plan of so many pairs, each on a load of its own."""
    target, draft = here.models()
    drafts = "".join(f'[[drafts]]\nlabel = "D{number}"\npath = "{draft}"\n' for number in range(pairs))
    path = here.folder / f"plan-{size}.toml"
    path.write_text(
        f'name = "plan"\n[engine]\nprogram = "{here.fake_server()}"\n'
        f'[[targets]]\nlabel = "T"\npath = "{target}"\n{drafts}'
        "[sweep]\nk = [4]\n[measure]\nmax_tokens = 32\niterations = 2\nwarmup = 1\n"
        '[limits]\nmemory = "off"\ninhibit_sleep = false\n'
    )
    return path


def timed_s(here: Place, profile: Path) -> float:
    """The time from the first load to the 18th step; the run is ended then."""
    environment = here.environment | {"FAKE_SERVER": "speed=1e6,prompt_speed=1e9"}
    begun_s, steps = 0.0, 0
    with subprocess.Popen(
        here.command("--headless", profile),
        cwd=here.folder,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            begun_s = begun_s or (time.monotonic() if line.startswith("load ") else 0.0)
            steps += line.startswith("step ")
            if steps == STEPS:
                break
        took_s = time.monotonic() - begun_s
        run.send_signal(signal.SIGTERM)
        run.stderr.read()
    if steps < STEPS:
        raise RuntimeError(f"{profile.name} ended after {steps} steps")
    return took_s
