"""Start-up arguments that a profile may not carry, because specdash sets them itself or a key of the profile does."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from specdash.config.lines import KeyPath
from specdash.config.report import Findings, show

_TARGET = 'The models under test go in [[targets]], as path = "…"'
_DRAFT = 'The drafts under test go in [[drafts]], as path = "…"'
_K = "K goes in sweep.k"
_N_MIN, _P_MIN = "It goes in sweep.n_min", "It goes in sweep.p_min"
_METHOD = "What drafts is chosen by sweep.methods"
_ADDRESS = "Servers listen on 127.0.0.1. Leave it out"
_PORT = "It goes in engine.port (0 = any free port)"
_ALIAS = "specdash proves by it that the server is its own. Leave it out"
_SYNTHETIC = "Synthetic acceptance is no measurement. Leave it out"
_KEY = "specdash starts the server for itself alone, on 127.0.0.1 and without a key. Leave it out"

_ONE_AT_A_TIME = (
    "How many requests run at once is measure.concurrency's, and this version asks one at a time. Leave it out"
)

# As llama-server lists them, those of older builds too; the variables of the environment are the same flags.
_OWNERS: tuple[tuple[str, str], ...] = (
    ("-m --model LLAMA_ARG_MODEL -mu --model-url LLAMA_ARG_MODEL_URL -hf -hfr --hf-repo LLAMA_ARG_HF_REPO", _TARGET),
    ("-hff --hf-file LLAMA_ARG_HF_FILE -dr --docker-repo LLAMA_ARG_DOCKER_REPO", _TARGET),
    ("-md --model-draft --spec-draft-model LLAMA_ARG_SPEC_DRAFT_MODEL LLAMA_ARG_MODEL_DRAFT", _DRAFT),
    ("-hfd -hfrd --hf-repo-draft --spec-draft-hf LLAMA_ARG_SPEC_DRAFT_HF_REPO LLAMA_ARG_HFD_REPO", _DRAFT),
    ("--draft --draft-n --draft-max --spec-draft-n-max LLAMA_ARG_SPEC_DRAFT_N_MAX LLAMA_ARG_DRAFT_MAX", _K),
    (
        "--draft-min --draft-n-min --spec-draft-n-min LLAMA_ARG_SPEC_DRAFT_N_MIN LLAMA_ARG_DRAFT_MIN",
        "It goes in sweep.n_min",
    ),
    ("--draft-p-min --spec-draft-p-min LLAMA_ARG_SPEC_DRAFT_P_MIN LLAMA_ARG_DRAFT_P_MIN", _P_MIN),
    ("--spec-type --spec-default LLAMA_ARG_SPEC_TYPE", _METHOD),
    ("--spec-synth-len --spec-synth-rates LLAMA_ARG_SPEC_SYNTH_LEN LLAMA_ARG_SPEC_SYNTH_RATES", _SYNTHETIC),
    ("-mm --mmproj -mmu --mmproj-url LLAMA_ARG_MMPROJ LLAMA_ARG_MMPROJ_URL", "It goes in targets.mmproj"),
    ("-np --parallel LLAMA_ARG_N_PARALLEL", _ONE_AT_A_TIME),
    ("--port LLAMA_ARG_PORT", _PORT),
    ("-a --alias LLAMA_ARG_ALIAS", _ALIAS),
    ("--metrics LLAMA_ARG_ENDPOINT_METRICS", "specdash always sets it. Leave it out"),
    ("--api-key LLAMA_API_KEY --api-key-file LLAMA_ARG_API_KEY_FILE --api-prefix LLAMA_ARG_API_PREFIX", _KEY),
    ("--ssl-key-file LLAMA_ARG_SSL_KEY_FILE --ssl-cert-file LLAMA_ARG_SSL_CERT_FILE", _KEY),
    ("LLAMA_ARG_HOST", _ADDRESS),
)
# A run of a program is one answer: what a request says to a server stands on its command line, before the user's own.
_CLI_OWNERS: tuple[tuple[str, str], ...] = (
    *_OWNERS,
    ("-n --predict --n-predict LLAMA_ARG_N_PREDICT", "It goes in measure.max_tokens"),
    ("--temp --temperature LLAMA_ARG_TEMPERATURE", "It goes in measure.temperature"),
    ("-s --seed", "It goes in measure.seed"),
    ("-p --prompt -f --file -bf --binary-file --image", "Prompts go in measure.prompts"),
)
_MLX_OWNERS: tuple[tuple[str, str], ...] = (
    ("--model", _TARGET),
    ("--draft-model", _DRAFT),
    ("--num-draft-tokens", _K),
    ("--port", _PORT),
    ("--alias", _ALIAS),
)
_BY_KIND = {"llama-server": _OWNERS, "llama-cli": _CLI_OWNERS, "mlx": _MLX_OWNERS}
_ONE_STRING = re.compile(r"(--?[A-Za-z][\w-]*)\s+(\S.*)", re.DOTALL)
_VARIABLE = re.compile(r"(LLAMA_\w+)=")


def check_env(findings: Findings, path: KeyPath, name: str, kind: str) -> None:
    """Reports a variable at `path` that sets a flag: what `args` must not contain, and warns of every other one."""
    todo = _owners(kind).get(name) if name.startswith("LLAMA_") else None
    if todo is not None:
        findings.problem(path, f"{show(name)} sets a flag that is not for the user to set", todo)
    elif name.startswith("LLAMA_ARG_"):
        findings.warn(path, f"{show(name)} sets a flag of the server where nobody looks for it", "Use engine.args")


def check_wrap(findings: Findings, path: KeyPath, words: Iterable[str], kind: str) -> None:
    """Reports variables that the words before a command give it, as in `env LLAMA_ARG_N_PARALLEL=4`."""
    for index, word in enumerate(words):
        if (found := _VARIABLE.match(word)) is not None:
            check_env(findings, (*path, index), found[1], kind)


def _owners(kind: str) -> dict[str, str]:
    """The flags and variables that are not the user's to set, each with what to do instead."""
    return {name: todo for names, todo in _BY_KIND.get(kind, ()) for name in names.split()}


def check_args(findings: Findings, path: KeyPath, args: Iterable[object], kind: str = "llama-server") -> None:
    """Reports what `args` (the raw list at `path`) must not contain, and warns of a server open to the network.

    A launch command of the user's own takes any words.
    """
    if kind not in _BY_KIND:
        return
    owners = _owners(kind)
    items = list(args)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            continue
        here = (*path, index)
        flag, _, joined = item.partition("=")
        following = items[index + 1] if index + 1 < len(items) else ""
        value = joined or (following if isinstance(following, str) else "")
        if flag in owners:
            findings.problem(here, f"{show(flag)} is not for args", owners[flag])
        elif flag == "--host":
            _check_host(findings, here, value)
        elif flag == "--override-kv" and "expert_used_count" in value:
            findings.problem(here, "expert counts are not for args", "They go in sweep.moe_experts, e.g. [4, 6]")
        elif (split := _ONE_STRING.fullmatch(item)) is not None:
            todo = f"No shell takes it apart: write {show(split[1])}, {show(split[2])}"
            findings.problem(here, f"{show(item)} is a flag and its value in one string", todo)


def _check_host(findings: Findings, path: KeyPath, host: str) -> None:
    """Loopback is what specdash sets anyway; anything else is the user's to decide, but not by oversight."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost" or host.endswith(".sock") or not host
    if is_loopback:
        findings.problem(path, '"--host" is not for args', _ADDRESS)
    else:
        what = f"OPEN TO THE NETWORK: with --host {show(host)} anyone who reaches this machine can use the server"
        findings.warn(path, what, "Leave --host out unless you mean it")
