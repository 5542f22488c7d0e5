"""How long and how much: forecasts of what a run has left, with ranges no tighter than what is known.

Loads and steps are timed apart and never averaged into one rate, reading a prompt and making its answer as well. Before
anything was measured, priors stand in for measurements; they are wide on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from specdash.core.lifecycle import ServerState
from specdash.core.persistent import changed_since
from specdash.core.plan import KScope, LoadKey, PlannedLoad, fixes_k
from specdash.core.priors import ZERO, Range, RequestTime, Tokens, prior_load, prior_request, prior_tokens
from specdash.core.queue import loads_of, takes
from specdash.core.state import RunState
from specdash.core.step_state import StepState
from specdash.core.steptable import StepTable
from specdash.core.ticks import Telemetry
from specdash.core.timings import Backlog, StepTimings
from specdash.core.unmeasured_requests import UnmeasuredRequests

__all__ = ["ZERO", "ForecastRequest", "Forecaster", "Outlook", "Range", "in_flight", "loads_left", "outlook"]

SAMPLE = "sample"  # the purpose of a request that is one


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """A request that is being answered: whose, how old it is, and how long it is sure to take at least.

    `least_s` is its age, or longer where the server tells how much of the prompt it has read.
    """

    step: str
    purpose: str
    age_s: float
    least_s: float


def in_flight(live: Telemetry, now_s: float) -> ForecastRequest | None:
    """The request that is being answered at `now_s` (seconds since 1970); None where there is none of a step."""
    token, server = live.token, live.server
    if token is None or token.step is None or (server is not None and server.state != ServerState.BUSY):
        return None
    age_s = max(0.0, now_s - token.started_s)
    if token.tokens or not token.prompt_read or not token.prompt_tokens:
        return ForecastRequest(token.step, token.purpose, age_s, age_s)
    return ForecastRequest(token.step, token.purpose, age_s, age_s * token.prompt_tokens / token.prompt_read)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The rest of a run: the loads still to start, the time for everything, and the time of each open step.

    `left` is None where nothing is known yet, not even the size of the models; a step's time leaves its load out.
    `starts`: how long each of the loads still to start takes to start, None where that is not known. `loads` are these
    loads with their steps, found when they are asked for.
    """

    left: Range | None
    steps: Mapping[str, Range]
    starts: Mapping[LoadKey, Range | None] = field(default_factory=dict)
    view: RunState | None = None

    @property
    def loads(self) -> tuple[PlannedLoad, ...]:
        """The loads still to be started; looks at every open step."""
        return loads_left(self.view) if self.view is not None else ()


def loads_left(view: RunState) -> tuple[PlannedLoad, ...]:
    """The loads that are still to be started: what the server that runs now will take is not among them."""
    return loads_of(view.steps, view.scope, _running(view))


def outlook(view: RunState, flying: ForecastRequest | None = None) -> Outlook:
    """What a run still has before it, as its queue stands."""
    return Forecaster().of(view, flying)


class Forecaster:
    """The outlook of a run at every fact, from what the fact has changed.

    The outlook of a view is the same whatever views came before; a Forecaster only remembers the sums over its steps.
    """

    def __init__(self) -> None:
        self._view = RunState()
        self._table = StepTable()
        self._asked = UnmeasuredRequests()
        self._timings = StepTimings()
        self._backlog: dict[tuple[LoadKey, int | None, int | None], Backlog] = {}

    def of(self, view: RunState, flying: ForecastRequest | None = None) -> Outlook:
        """What the run of a view has still before it; `flying`: the request that is being answered."""
        self._take_in(view)
        running = _running(view)
        asked = {"is_probed": _is_probed(view), "k_is_fixed": view.scope in (None, KScope.STARTUP)}
        starts: dict[LoadKey, Range | None] = {}
        left: Range | None = ZERO
        for (pair, k, k_startup), backlog in self._backlog.items():
            one = self._request(pair, k, self._tokens(pair, backlog))
            left = left + _time_of(backlog, one) if one is not None and left is not None else None
            if running is not None and pair == running.pair and takes(running, backlog.step, k_startup, view.scope):
                continue
            key = self._load_of(pair, backlog, view.scope)
            if key in starts:
                continue
            starts[key] = start = self._start(key)
            if start is None or one is None or left is None:
                left = None
            else:
                left = left + start + self._asked.load_time(key, one, self._timings.asked_first(key), **asked)
        if flying is not None and left is not None:
            left = self._with_request(left, flying)
        return Outlook(left, _StepTimes(self, view.table), starts, view)

    def step_time(self, found: StepState) -> Range | None:
        """The rest of one step; None where not even the size of its models is known."""
        backlog = Backlog(found.step)
        self._add(backlog, found, 1)
        pair = found.step.pair
        one = self._request(pair, found.step.k, self._tokens(pair, backlog))
        return _time_of(backlog, one) if one is not None else None

    # -- what is known -------------------------------------------------------------------------------------------

    def _take_in(self, view: RunState) -> None:
        """Brings the sums up to date with a view."""
        if view.run is not self._view.run or not view.table.is_same_queue(self._table):
            self._view, self._table, self._timings, self._backlog = RunState(), StepTable(), StepTimings(), {}
            run = view.run
            self._asked = UnmeasuredRequests(run.settings, run.prompts) if run is not None else UnmeasuredRequests()
        loads, before, self._view = view.loads, self._view.loads, view
        for load_id, load in changed_since(loads, before):
            self._timings.change_load(before.get(load_id), load)
        self._take_in_steps(view.table)

    def _take_in_steps(self, table: StepTable) -> None:
        before = self._table
        for step_id, found in table.changed_since(before):
            pair, known = found.step.pair, before.get(step_id)
            if known is not None:
                self._count(pair, known, -1)
            self._count(pair, found, 1)
            self._timings.change(step_id, pair, found, self._asked)
        self._table = table

    def _count(self, pair: LoadKey, found: StepState, sign: int) -> None:
        """Adds an open step to what is left, or takes it out again."""
        if found.is_done:
            return
        k_startup = found.k_startup if found.samples else None
        key = pair, found.step.k, k_startup
        backlog = self._backlog.setdefault(key, Backlog(found.step, k_startup))
        self._add(backlog, found, sign)
        if not backlog.steps:
            del self._backlog[key]

    def _add(self, backlog: Backlog, found: StepState, sign: int) -> None:
        step, asked = found.step, self._asked
        samples, size = max(0, self._iterations(found) - len(found.good)), asked.mean_bytes(step.category)
        answers, tokens = asked.checks(step, samples + len(found.good))
        answers = max(0, answers - len(found.checks))
        backlog.steps += sign
        backlog.samples += sign * samples
        backlog.text_bytes += sign * (size or 0.0)
        backlog.depth += sign * step.depth
        backlog.unknown += sign * (size is None)
        backlog.prompts += sign * answers
        backlog.checks += sign * answers * min(1.0, tokens / max(1, asked.max_tokens or tokens or 1))

    def _iterations(self, found: StepState) -> int:
        if found.iterations is not None:
            return found.iterations
        return self._view.settings.iterations or 0

    def _tokens(self, pair: LoadKey, backlog: Backlog) -> Tokens | None:
        """The mean length of the prompts of what is left; None where nobody can tell."""
        if backlog.unknown:
            return None
        text_bytes, depth = backlog.text_bytes / backlog.steps, backlog.depth / backlog.steps
        return self._timings.tokens(pair.target, text_bytes, depth) or prior_tokens(text_bytes, round(depth))

    def _request(self, pair: LoadKey, k: int | None, tokens: Tokens | None) -> RequestTime | None:
        """One sample of a pair and K: from what was measured, else from the size of the models."""
        known = self._timings.sample(pair, k, tokens)
        if known is not None:
            return known
        size, asked = size_bytes(self._view, pair.target), self._asked
        if size is None or asked.max_tokens is None:
            return None
        draft = size_bytes(self._view, pair.draft) if pair.draft is not None else 0
        return prior_request(size, asked.max_tokens, tokens or prior_tokens(0, 0), draft or 0, k)

    def _load_of(self, pair: LoadKey, backlog: Backlog, scope: KScope | None) -> LoadKey:
        """The load that open steps of a pair need."""
        step = backlog.step
        if fixes_k(step, scope):
            return step.key(step.k)
        return step.key(backlog.k_startup if backlog.k_startup is not None else self._table.largest_k(pair))

    def _start(self, key: LoadKey) -> Range | None:
        """How long a server takes to start: from the loads of the same models, else of all, else from their size."""
        known = self._timings.start(key)
        if known is not None:
            return known
        size = size_bytes(self._view, key.target, key.draft)
        return prior_load(size) if size is not None else None

    # -- the request that is being answered ----------------------------------------------------------------------

    def _with_request(self, left: Range, flying: ForecastRequest) -> Range:
        """The time left, when a request has been going on for a while.

        It is over the sooner the older it is, as long as it is not older than was expected. From then on it takes
        longer the longer it has taken, and so will those that are like it.
        """
        found = self._table.get(flying.step)
        if found is None:
            return left
        pair, k = found.step.pair, found.step.k
        one = self._request(pair, k, self._tokens_of(found))
        if one is None:
            return left
        expected, age_s = one.whole, flying.age_s
        middle_s = expected.middle_s
        least_s = max(flying.least_s, age_s)
        more = max(0.0, expected.high_s / middle_s - 1) if middle_s > 0 else 0.0
        rest = Range(max(0.0, expected.low_s - age_s, least_s - age_s), max(expected.high_s - age_s, more * least_s))
        if flying.purpose == SAMPLE and not found.is_done:
            left = Range(left.low_s - expected.low_s, left.high_s - expected.high_s)
        backlog = self._backlog.get((pair, k, found.k_startup if found.samples else None))
        others = max(0, backlog.samples - (flying.purpose == SAMPLE)) if backlog is not None else 0
        late = Range(0.0, max(0.0, least_s - expected.high_s) * others)
        return Range(max(0.0, left.low_s), max(0.0, left.high_s)) + rest + late

    def _tokens_of(self, found: StepState) -> Tokens | None:
        backlog = Backlog(found.step)
        self._add(backlog, found, 1)
        return self._tokens(found.step.pair, backlog)


class _StepTimes(Mapping[str, Range]):
    """The times of the open steps, each worked out when it is looked at: few of 50,000 ever are."""

    def __init__(self, forecaster: Forecaster, table: StepTable) -> None:
        self._forecaster = forecaster
        self._table = table

    def __getitem__(self, step_id: str) -> Range:
        found = self._table[step_id]
        time = self._forecaster.step_time(found) if not found.is_done else None
        if time is None:
            raise KeyError(step_id)
        return time

    def __iter__(self) -> Iterator[str]:
        return (found.step.id for found in self._table.opened())

    def __len__(self) -> int:
        return self._table.tally.open


def size_bytes(view: RunState, *labels: str | None) -> int | None:
    """Bytes of the files of these models; None where one is not known."""
    models = [view.models.get(label) for label in labels if label is not None]
    sizes = [model.size_bytes for model in models if model is not None]
    return sum(sizes) if len(sizes) == len(models) else None


def _time_of(backlog: Backlog, one: RequestTime) -> Range:
    """The samples that are left, and the answers that texts are compared by."""
    checks = one.answer.times(backlog.checks) + Range(0.0, one.read.high_s * backlog.prompts)
    return one.whole.times(backlog.samples) + checks


def _running(view: RunState) -> LoadKey | None:
    """What the server that runs now was started as."""
    running = view.loads.get(view.current_load or "")
    return running.key if running is not None and not running.finished else None


def _is_probed(view: RunState) -> bool:
    """Whether a load with a draft model is asked who decides K."""
    return view.engine is None or view.engine.k_scope is None
