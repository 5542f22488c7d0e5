"""Which server speaks an OpenAI-style API, found by asking it, and what each of them wants to be asked.

A port says nothing, and neither does an address: LM Studio answers every unknown path with 200, llama-server answers
Ollama's and LM Studio's clients too. So the model list is read first, whose `owned_by` names most of them, and then
what only one of them has. A flavour decides which further fields go into a request and which paths exist; what an
answer says is read the same way for all (`stream`).

Sources: vLLM and llama-server as run; SGLang, LM Studio and Ollama from their documentation and sources.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from specdash.core.engine import UNKNOWN, Request
from specdash.core.numbers import whole
from specdash.core.transport import BadAnswer, HttpError, TransportError
from specdash.engines.base import member
from specdash.engines.http import Client
from specdash.errors import EngineError

ASK_LIMIT_S = 10.0
MODELS = "/v1/models"
PAGE = f"an HTML page on {MODELS}"
NO_PATH = frozenset({404, 405, 501})  # how servers say that they have nothing at a path


class Flavour(StrEnum):
    """A kind of server; PLAIN is any other."""

    VLLM = "vLLM"
    SGLANG = "SGLang"
    LM_STUDIO = "LM Studio"
    OLLAMA = "Ollama"
    LLAMA_SERVER = "llama-server"
    PLAIN = "OpenAI-style"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself: its flavour, its version, the names of its models.

    `uncached`: it never takes a prompt from a cache, or leaves the count out when it took none, so that a missing
    count of cached tokens means 0. `k_startup`: the draft length that it says it was started with. `unlisted`: what it
    answers in place of a list of its models, "" where it lists them.
    """

    flavour: Flavour
    version: str = UNKNOWN
    models: tuple[str, ...] = ()
    uncached: bool = False
    k_startup: int | None = None
    unlisted: str = ""


_OWNERS: Mapping[str, Flavour] = {
    "vllm": Flavour.VLLM,
    "sglang": Flavour.SGLANG,
    "llamacpp": Flavour.LLAMA_SERVER,
}


async def ask(http: Client, limit_s: float = ASK_LIMIT_S) -> ServerFacts:
    """Who answers; a server without a list of models may still complete for whoever names one.

    Raises TransportError when nothing answers, or the list is refused for another reason, such as a wrong key.
    """
    models, unlisted = await _listed(http, limit_s)
    names = tuple(entry["id"] for entry in models if isinstance(entry.get("id"), str))
    owners = {entry.get("owned_by") for entry in models}
    flavour = next((found for owner, found in _OWNERS.items() if owner in owners), None)
    if flavour is Flavour.VLLM:
        return ServerFacts(flavour, _text(await _value(http, "/version", limit_s), "version"), names)
    if flavour is Flavour.SGLANG:
        return await _sglang(http, names, limit_s)
    if flavour is Flavour.LLAMA_SERVER:
        return ServerFacts(flavour, _text(await _value(http, "/props", limit_s), "build_info"), names)
    if _is_lm_studio(await _value(http, "/api/v0/models", limit_s)):
        return ServerFacts(Flavour.LM_STUDIO, models=names, unlisted=unlisted)
    version = _text(await _value(http, "/api/version", limit_s), "version")
    return ServerFacts(Flavour.PLAIN if version == UNKNOWN else Flavour.OLLAMA, version, names, unlisted=unlisted)


async def _listed(http: Client, limit_s: float) -> tuple[list[Mapping[str, Any]], str]:
    """The models that a server lists, or what it answers in place of a list.

    An empty body with 200 is what mlx_lm.server 0.32.2 sends where no model was ever downloaded by name.
    """
    try:
        text = await http.get_text(MODELS, limit_s)
    except HttpError as error:
        if error.status not in NO_PATH:
            raise
        return [], f"HTTP {error.status} on {MODELS}"
    if not text.strip():
        return [], f"an empty answer on {MODELS}"
    if text.lstrip().startswith("<"):
        return [], PAGE
    try:
        listed = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return [], f"no JSON on {MODELS}"
    entries = member(listed, "data", list)
    if entries is None:
        return [], f"no list on {MODELS}"
    return [entry for entry in entries if isinstance(entry, Mapping)], ""


async def unnamed(http: Client, unlisted: str, missing_health: str, limit_s: float) -> EngineError:
    """Why a server that lists no models cannot be asked by whoever names none: it wants a name, or is no such server.

    Where it has no health path either (`missing_health` is that path; "" where it has one), an empty request tells the
    two apart: to a server that completes it is malformed.
    """
    try:
        if missing_health or unlisted == PAGE:
            await http.post_json("/v1/chat/completions", {}, limit_s)
    except TransportError as error:
        if is_other_kind(error, unlisted, missing_health):
            return other_kind_error(http, unlisted, missing_health)
    return EngineError(
        f"the server at {http.base} does not list its models ({unlisted})", "Name one with targets.model."
    )


def is_other_kind(error: TransportError, unlisted: str, missing_health: str) -> bool:
    """Whether this answer to a completion, of a server that lists no models, shows that it is of another kind.

    A path that is not there may also be how a server calls an unknown model, unless its health path is missing too.
    """
    if isinstance(error, HttpError):
        return error.status in NO_PATH and bool(missing_health or unlisted == PAGE)
    return isinstance(error, BadAnswer) and unlisted == PAGE


def other_kind_error(http: Client, unlisted: str, missing_health: str) -> EngineError:
    """The error for a server of another kind."""
    signs = f"{unlisted}, and nothing at {missing_health}" if missing_health else unlisted
    return EngineError(
        f"something answers at {http.base}, but not as an OpenAI-style API ({signs})", "Check engine.url."
    )


async def _sglang(http: Client, names: tuple[str, ...], limit_s: float) -> ServerFacts:
    """SGLang tells its whole command line; the path was renamed in 2026."""
    info = await _value(http, "/server_info", limit_s) or await _value(http, "/get_server_info", limit_s)
    return ServerFacts(
        Flavour.SGLANG,
        _text(info, "version"),
        names,
        uncached=bool(info.get("disable_radix_cache") or info.get("enable_cache_report")),
        k_startup=whole(info.get("speculative_num_steps")) or None,
    )


async def _value(http: Client, path: str, limit_s: float) -> Mapping[str, Any]:
    """The JSON object of a path; {} where there is none."""
    try:
        value = await http.get_json(path, limit_s)
    except TransportError:
        return {}
    return value if isinstance(value, Mapping) else {}


def _text(value: Mapping[str, Any], name: str) -> str:
    """A text of an object, cut to what a version can be."""
    found = value.get(name)
    return found[:80] if isinstance(found, str) and found else UNKNOWN


def _is_lm_studio(listed: Mapping[str, Any]) -> bool:
    """Whether this is LM Studio's own list of models, with what it knows of their files."""
    entries = member(listed, "data", list) or [None]
    return isinstance(entries[0], Mapping) and "compatibility_type" in entries[0]


def prefix(flavour: Flavour) -> str:
    """Where the completion endpoints are: LM Studio has its statistics under a path of its own."""
    return "/api/v0" if flavour is Flavour.LM_STUDIO else "/v1"


def metrics_path(flavour: Flavour) -> str:
    """Where a flavour has counters of drafting that its answers lack; "" for none."""
    return "/metrics" if flavour in (Flavour.VLLM, Flavour.SGLANG) else ""


def more_fields(flavour: Flavour, request: Request, draft_model: str, *, is_chat: bool) -> dict[str, Any]:
    """What a request to this flavour carries beyond the API: for counts in every event, for ids, against its cache.

    Probabilities are asked for where ids come with them, and in chats alone: completions have another form. vLLM and
    SGLang keep prefixes apart by `cache_salt`; a new one for every request keeps each prompt cold.
    """
    if flavour is Flavour.LLAMA_SERVER:
        return {"timings_per_token": True, "cache_prompt": request.cache_prompt}
    if flavour is Flavour.LM_STUDIO:
        return {"draft_model": draft_model} if draft_model else {}
    if flavour not in (Flavour.VLLM, Flavour.SGLANG):
        return {}
    fields: dict[str, Any] = {
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "return_token_ids": True,
    }
    if request.with_margins and is_chat:
        fields |= {"logprobs": True, "top_logprobs": 2}
    if not request.cache_prompt:
        fields["cache_salt"] = secrets.token_hex(16)
    if flavour is Flavour.SGLANG:
        fields |= {"return_spec_tokens_details": True, "return_cached_tokens_details": True}
    return fields


def uncounted_cache(facts: ServerFacts) -> str:
    """Why this server's answers do not count cached tokens, as a sentence with what would help."""
    if facts.flavour is Flavour.VLLM:
        return "vLLM counts cached tokens only with --enable-prompt-tokens-details"
    if facts.flavour is Flavour.SGLANG:
        return "SGLang counts cached tokens only with --enable-cache-report"
    return f"this {facts.flavour} server does not count cached prompt tokens"


async def tokens_of(http: Client, model: str, text: str, limit_s: float) -> int | None:
    """How many tokens a text has, asked at POST /tokenize (vLLM, SGLang, llama-server); None where there is none."""
    try:
        answer = await http.post_json("/tokenize", {"model": model, "prompt": text, "content": text}, limit_s)
    except HttpError:
        return None
    return len(member(answer, "tokens", list) or ()) or None
