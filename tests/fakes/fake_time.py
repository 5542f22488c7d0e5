"""How long the fake server's steps take: its speed, which may drift, and the noise of every step."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.fake_flags import Behaviour, Options


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of one request: `plain_step_s` without noise, and where its noise begins."""

    plain_step_s: float
    noise: float
    luck: random.Random

    def step_s(self, cost: float) -> float:
        """The time of a step that costs so many plain ones, in seconds: lognormal about its mean."""
        if not self.noise or not cost:
            return cost * self.plain_step_s
        return cost * self.plain_step_s * self.luck.lognormvariate(-(self.noise**2) / 2, self.noise)


def pace(behaviour: Behaviour, options: Options, request: int, started_s: float) -> Pace:
    """The pace of this server's request number `request`; `started_s` is when the server began (since 1970).

    The noise is that of (seed, alias, draft, K, request): a server started again under another name, as specdash does
    it, has other noise.
    """
    begun_s = behaviour.drift_since or started_s
    speed = behaviour.speed * (1 + behaviour.drift * (time.time() - begun_s))
    if behaviour.drift_per_request:
        speed *= 1 + behaviour.drift_per_request * _before(behaviour, request)
    if speed <= 0:
        raise SystemExit("FAKE_SERVER: the drift has brought the speed to 0")
    luck = random.Random(f"{behaviour.seed}/{options.alias}/{options.draft}/{options.k}/{request}")
    return Pace(options.experts_share / speed, behaviour.noise, luck)


def _before(behaviour: Behaviour, request: int) -> int:
    """How many completions came before this one, on all servers that share a log; one byte there stands for each."""
    if not behaviour.request_log:
        return request - 1
    path = Path(behaviour.request_log)
    with path.open("ab") as file:
        file.write(b".")
        file.flush()
        return os.fstat(file.fileno()).st_size - 1
