"""A fake of llama.cpp's command-line programs: `llama_programs.py NAME ARG…` behaves as the program NAME.

`install(folder)` writes programs of these names into a folder. The text is always the same words, whoever writes them,
and each takes `pace_s`. `FAKE_DIALECT=old` gives flags and wordings of before 2026. `FAKE_CLI` holds further behaviour
as `key=value,key=value`: see Behaviour.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

NAMES = ("llama-speculative-simple", "llama-speculative", "llama-lookup", "llama-completion", "llama-mtmd-cli")
SPECULATING = NAMES[:3]
OLD_NAMES = ("llama-speculative-simple", "llama-speculative", "llama-lookup", "llama-cli", "llama-mtmd-cli")
ACCEPTED = 2  # of each draft that has as many
COMMON = ("-m", "-n", "-f", "-p", "--temp", "-s", "-c", "-b", "--override-kv", "--no-escape")


class Behaviour:
    """What the programs do: `end` is ok, exit0 (at once), fail (exit code 1, with a reason), kill, hang or lost (the
    statistics, in the first run of those that share the file `count`); `stats` is ok, none or changed; `flood` is a
    number of bytes written to both outputs, without a line end; `child` leaves a process behind that keeps the outputs
    open; `mute_help` gives no help; `other` is the help of another tool; `drafts` are drafted in place of K; `full`
    goes on after a full context."""

    end: str = "ok"
    stats: str = "ok"
    flood: int = 0
    child: bool = False
    mute_help: bool = False
    other: bool = False
    drafts: int = 0
    full: bool = False
    pace_s: float = 0.0005
    count: str = ""
    version: str = "1 (fake)"

    @classmethod
    def read(cls) -> Behaviour:
        """From the environment."""
        found = cls()
        for part in filter(None, os.environ.get("FAKE_CLI", "").split(",")):
            key, _, text = part.partition("=")
            kind = type(getattr(found, key))
            setattr(found, key, text == "1" if kind is bool else kind(text))
        return found


def install(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Writes the programs into `folder`; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{Path(__file__)}" {name} "$@"\n')
        program.chmod(0o755)
    return folder


def words(count: int) -> list[str]:
    """What every model here says."""
    return [f" word{number % 89}" for number in range(count)]


def help_text(name: str, old: bool) -> str:
    """The flags of a program."""
    flags = [*COMMON, "-md"]
    if name in SPECULATING:
        flags += ["--draft-max", "--draft-min", "--draft-p-min"] if old else []
        flags += [] if old else ["--spec-draft-n-max", "--spec-draft-n-min", "--spec-draft-p-min"]
    else:
        flags += ["--no-display-prompt", "--simple-io", "-no-cnv", "-cnv", "--special", "--perf", "--mmproj", "--image"]
    lines = [f"{flag:<39} {flag.strip('-')}" for flag in flags]
    if name in SPECULATING and not old and name != "llama-lookup":
        lines.append("--spec-type none,draft-simple,ngram-simple")
        lines += [f"{flag:<39} size" for flag in ("--spec-ngram-simple-size-n", "--spec-ngram-simple-size-m")]
    if name in SPECULATING and not old:
        lines.append("--draft-max N                           the argument has been removed. use --spec-draft-n-max")
    return "\n".join(["----- common params -----", "", *lines]) + "\n"


def value(args: list[str], *flags: str) -> str | None:
    """The last value that one of these flags has."""
    found = [args[at + 1] for at, word in enumerate(args[:-1]) if word in flags]
    return found[-1] if found else None


def say(text: str) -> None:
    """To stdout, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def statistics(name: str, old: bool, doing: Behaviour, figures: dict[str, float]) -> str:
    """What the program prints at its end."""
    perf = "llama_print_timings" if old else "common_perf_print"
    runs = int(figures["tokens"]) - 1
    lines = [
        f"{perf}: prompt eval time = {figures['prompt_s'] * 1000:10.2f} ms / {int(figures['prompt']):5d} tokens"
        " (    1.00 ms per token,  1000.00 tokens per second)",
        f"{perf}:        eval time = {figures['decode_s'] * 700 + 0.01:10.2f} ms / {runs:5d} runs  "
        " (    1.00 ms per token,  1000.00 tokens per second)",
    ]
    if name in SPECULATING:
        drafted, accepted = int(figures["drafted"]), int(figures["accepted"])
        rate = f"{100 * accepted / drafted:.3f}" if drafted else "-nan"
        lines = [
            f"encoded {int(figures['prompt']):4d} tokens in {figures['prompt_s']:8.3f} seconds, speed: 1.0 t/s",
            f"decoded {int(figures['tokens']):4d} tokens in {figures['decode_s']:8.3f} seconds, speed: 1.0 t/s",
            "",
            f"n_draft   = {int(figures['k'])}",
            f"n_predict = {int(figures['tokens'])}",
            f"n_drafted = {drafted}",
            f"n_accept  = {accepted}",
            f"accept    = {rate}%",
            "",
            *lines,
        ]
    text = "".join(f"{'' if old else '0.00.100.200 I '}{line}\n" for line in lines)
    if doing.stats == "changed":
        return text.replace("seconds", "s").replace("tokens (", "tok (").replace("runs ", "rounds ")
    return "" if doing.stats == "none" else text


def generate(name: str, args: list[str], old: bool, doing: Behaviour) -> int:
    """One run that loads, answers and ends; its exit code."""
    prompt = Path(value(args, "-f") or "").read_text().removesuffix("\n")
    count = int(value(args, "-n") or 16)
    k = int(value(args, "--spec-draft-n-max", "--draft-max", "--spec-ngram-simple-size-m") or 0)
    speculates = name in SPECULATING
    if speculates:
        say(f"\n\n<s> {prompt}")
    started_s = time.monotonic()
    tokens = drafted = accepted = 0
    if name in ("llama-speculative", "llama-lookup"):
        tokens = 1  # from the prompt
        say(words(1)[0])
    drafts = 0 if name == "llama-lookup" else doing.drafts or k
    while tokens <= count if speculates else tokens < count:
        kept = min(ACCEPTED, drafts) if speculates else 0
        time.sleep(doing.pace_s)
        say("".join(words(tokens + kept + 1)[tokens:]))
        tokens, drafted, accepted = tokens + kept + 1, drafted + (drafts if speculates else 0), accepted + kept
    decode_s = time.monotonic() - started_s
    say("\n\n\n\n" if speculates else "\n\n")
    figures = {"prompt": len(prompt.split()), "prompt_s": 0.004, "tokens": tokens, "decode_s": max(decode_s, 0.001)}
    figures |= {"k": k, "drafted": drafted, "accepted": accepted}
    lost = "0.00.382.156 E decode: failed to initialize batch\n" if doing.full else ""
    sys.stderr.write(lost + statistics(name, old, doing, figures))
    return 0


def loses(count: str) -> bool:
    """Whether this is the first run of those that share this file."""
    try:
        os.close(os.open(count, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def run(name: str, args: list[str], old: bool, doing: Behaviour) -> int:
    """One run, well or ill."""
    if doing.child and os.fork() == 0:
        time.sleep(600)
    piece = b"\xff\x00x" * 4096
    for number in (1, 2):
        for _ in range(doing.flood // len(piece)):
            os.write(number, piece)
    if doing.end == "exit0":
        return 0
    if doing.end == "fail" or not Path(value(args, "-m") or "").is_file():
        sys.stderr.write("0.00.013.000 E gguf_init_from_file: failed to open GGUF file 'T.gguf' (No such file)\n")
        return 1
    if doing.end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if doing.end == "hang":
        say(f"\n\n<s> {Path(value(args, '-f') or '').read_text()}")
        signal.pause()
    if doing.end == "lost" and loses(doing.count):
        doing.stats = "none"
    return generate(name, args, old, doing)


def main() -> int:
    """Behaves as the program that the command line names."""
    name, *args = sys.argv[1:]
    old = os.environ.get("FAKE_DIALECT") == "old"
    doing = Behaviour.read()
    if "--version" in args:
        sys.stderr.write(f"version: {doing.version}\n")
        return 0
    if "--help" in args:
        say("" if doing.mute_help else "usage: tool [-x]\n  -x  do it\n" if doing.other else help_text(name, old))
        return 0
    if old and (removed := [word for word in args if word.startswith("--spec-")]):
        sys.stderr.write(f"error: invalid argument: {removed[0]}\n")
        return 1
    return run(name, args, old, doing)


if __name__ == "__main__":
    sys.exit(main())
