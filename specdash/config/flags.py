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
_DRAFT_TUNING = "specdash sets it, so that K is what sweep.k says. Leave it out"
_METHOD = "What drafts is chosen by sweep.methods"
_ADDRESS = "Servers listen on 127.0.0.1. Leave it out"
_KEY = "specdash starts the server for itself alone, on 127.0.0.1 and without a key. Leave it out"

# As llama-server lists them, those of older builds too.
_OWNERS: tuple[tuple[str, str], ...] = (
    ("-m --model -mu --model-url -hf -hfr --hf-repo -hff --hf-file -dr --docker-repo", _TARGET),
    ("-md --model-draft --spec-draft-model -hfd -hfrd --hf-repo-draft --spec-draft-hf", _DRAFT),
    ("--draft --draft-n --draft-max --spec-draft-n-max", _K),
    ("--draft-min --draft-n-min --spec-draft-n-min --draft-p-min --spec-draft-p-min", _DRAFT_TUNING),
    ("--spec-type --spec-default", _METHOD),
    ("--spec-synth-len --spec-synth-rates", "Synthetic acceptance is no measurement. Leave it out"),
    ("-mm --mmproj -mmu --mmproj-url", "It goes in targets.mmproj"),
    ("--port", "It goes in engine.port (0 = any free port)"),
    ("-a --alias", "specdash proves by it that the server is its own. Leave it out"),
    ("--metrics", "specdash always sets it. Leave it out"),
    ("--api-key --api-key-file --ssl-key-file --ssl-cert-file --api-prefix", _KEY),
)
_MLX_OWNERS: tuple[tuple[str, str], ...] = (
    ("--model", _TARGET),
    ("--draft-model", _DRAFT),
    ("--num-draft-tokens", _K),
    ("--port", "It goes in engine.port (0 = any free port)"),
    ("--alias", "specdash proves by it that the server is its own. Leave it out"),
)
_BY_KIND = {"llama-server": _OWNERS, "llama-cli": _OWNERS, "mlx": _MLX_OWNERS}
_ONE_STRING = re.compile(r"(--?[A-Za-z][\w-]*)\s+(\S.*)", re.DOTALL)


def check_args(findings: Findings, path: KeyPath, args: Iterable[object], kind: str = "llama-server") -> None:
    """Reports what `args` (the raw list at `path`) must not contain, and warns of a server open to the network.

    A launch command of the user's own takes any words.
    """
    if kind not in _BY_KIND:
        return
    owners = {flag: todo for flags, todo in _BY_KIND[kind] for flag in flags.split()}
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
