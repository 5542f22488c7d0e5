"""The same pair through llama-server and through the command-line programs, side by side and in turn.

Every round asks each arm the same prompt once, in a shuffled order: the servers, with their models loaded, and the
programs, which load theirs for each answer. One thread each. The table has decode speeds by specdash's definition, the
acceptance, and the load that an answer of a program contains. The baseline is shown by both definitions of its decode
time that its output would allow: from the first to the last piece of its text, which is the one that specdash uses, and
libllama's `eval time`, which leaves out sampling and waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.common import Place, Row, place, real_server, spread
from specdash.core.engine import Endpoint, Engine, EngineClient, FindContext, Health, Request, ServerSpec
from specdash.core.measure import decode_rate
from specdash.core.plan import LoadKey
from specdash.core.profile import EngineConfig
from specdash.engines.demo import write_pair
from specdash.engines.llama_cpp import cli as llama_cli
from specdash.engines.llama_cpp import server as llama_server
from specdash.engines.llama_cpp.cli_result import CliStats, parse
from specdash.runtime.listener import free_port

K, TOKENS, ROUNDS, LIMIT_S = 4, 96, 6, 300.0
PROMPTS = (
    "Explain how a hash table works, with an example.",
    "Write one line about the sea, one about the hills and one about the road between them.",
    "Once upon a time there was a small model that guessed what a large one would say. It said:",
)
ARGS = ("-t", "1", "-c", "1024")
SPECULATING = ("llama-speculative-simple", "llama-speculative")
BASELINE, DRAFT = LoadKey.of("T"), LoadKey.of("T", K, draft="D")


@dataclass
class Arm:
    """One way to serve the target, what it needs to be asked, and what its answers were."""

    name: str
    key: LoadKey
    client: EngineClient
    tok_s: list[float] = field(default_factory=list)
    loads_s: list[float] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0

    async def answer(self, prompt: str) -> None:
        """Takes one answer in."""
        request = Request(prompt, TOKENS, 0.0, 1, self.key.k_startup)
        found = await self.client.generate(request, limit_s=LIMIT_S)
        if found.problems or found.predicted_ms is None or found.prompt_ms is None or found.first_token_t_s is None:
            raise RuntimeError(f"{self.name}: {found.problems}")
        tok_s = decode_rate(found.generated_tokens, found.predicted_ms / 1000)
        if tok_s is not None:
            self.tok_s.append(tok_s)
        self.loads_s.append(max(0.0, found.first_token_t_s - found.sent_t_s - found.prompt_ms / 1000))
        self.drafted += found.draft_n or 0
        self.accepted += found.draft_n_accepted or 0

    @property
    def acceptance(self) -> float | None:
        """In percent; None where nothing was drafted."""
        return 100 * self.accepted / self.drafted if self.drafted else None


def main() -> list[Row]:
    """Prints the table; returns rows of what the programs say beside what the server says."""
    server = real_server()
    if server == "embedded":
        raise RuntimeError("no llama-server program is installed, and so none of its command-line programs")
    with place() as where:
        log = where.folder / "baseline.log"
        arms = asyncio.run(_measured(where, server, log))
        evals = [1000 * stats.eval_runs / stats.eval_ms for stats in _stats(log) if stats.eval_runs and stats.eval_ms]
    print(f"{TOKENS} tokens, greedy, one thread, {ROUNDS} rounds of {len(PROMPTS)} prompts; tok/s, acceptance, load")
    for name, arm in arms.items():
        kept = "" if arm.acceptance is None else f"{arm.acceptance:.1f} %"
        print(f"{name:<42}{spread(arm.tok_s, '{:.1f}'):<34}{kept:>8}{median(arm.loads_s):>8.2f} s")
    print(f"{'llama-completion by its eval time':<42}{spread(evals, '{:.1f}')}")
    print()
    rows = [_side_records(arms, "llama-server", "llama-completion", "baseline")]
    rows += [_side_records(arms, f"llama-server, K = {K}", f"{name}, K = {K}", name) for name in SPECULATING]
    ours, theirs = arms[f"{SPECULATING[0]}, K = {K}"].acceptance, arms[f"llama-server, K = {K}"].acceptance
    apart = abs((ours or 0) - (theirs or 0))
    inflated = median(evals) / median(arms["llama-completion"].tok_s)
    return [
        *rows,
        Row("acceptance: program and server differ by", "2 points", f"{apart:.2f} points", apart <= 2),
        Row("llama-completion by its eval time / by its text", "", f"{inflated:.3f}"),
    ]


def _stats(log: Path) -> list[CliStats]:
    """What each line of a log says, by itself."""
    return [parse(line) for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]


def _side_records(arms: Mapping[str, Arm], server: str, program: str, what: str) -> Row:
    """The program's decode speed over the server's, round by round."""
    ratios = [ours / theirs for ours, theirs in zip(arms[program].tok_s, arms[server].tok_s, strict=True)]
    return Row(f"decode speed, {what}: program / server", "", spread(ratios, "{:.3f}"))


@contextlib.contextmanager
def _started(where: Place, command: Sequence[str], log: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """A server, ended afterwards."""
    with (log or where.folder / "other.log").open("ab") as file:
        process = subprocess.Popen(command, env=where.environment, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def _measured(where: Place, server: str, log: Path) -> dict[str, Arm]:
    """All arms, by name, with the answers of every round."""
    target, draft = write_pair(where.folder / "models")
    context = FindContext(env=where.environment)
    rng = random.Random(7)
    with contextlib.ExitStack() as started:

        async def arm(name: str, key: LoadKey, engine: Engine, log: Path | None = None) -> Arm:
            used = draft if key.draft is not None else None
            spec = ServerSpec(key, target, used, "llama", False, ARGS, {}, (), target.stat().st_size, LIMIT_S, "")
            endpoint = Endpoint(free_port(), f"bench-{len(arms)}")
            process = started.enter_context(_started(where, engine.command(spec, endpoint), log))
            made = Arm(name, key, engine.client(spec, endpoint))
            while await made.client.health() is not Health.OK:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended: see its log")
                await asyncio.sleep(0.05)
            await made.client.complete_one(LIMIT_S)
            return made

        def programs(name: str) -> Engine:
            config = EngineConfig(kind="llama-cli", program=str(Path(server).with_name(name)))
            return llama_cli.find(config, context)

        arms: dict[str, Arm] = {}
        served = llama_server.find(EngineConfig(program=server), context)
        for name, key, engine, kept in (
            ("llama-server", BASELINE, served, None),
            ("llama-completion", BASELINE, programs("llama-completion"), log),
            (f"llama-server, K = {K}", DRAFT, served, None),
            *((f"{name}, K = {K}", DRAFT, programs(name), None) for name in SPECULATING),
        ):
            arms[name] = await arm(name, key, engine, kept)
        for number in range(ROUNDS):
            for prompt in PROMPTS:
                for each in rng.sample(list(arms.values()), len(arms)):
                    await each.answer(f"{number}. {prompt}")
        for each in arms.values():
            await each.client.close()
    return arms
