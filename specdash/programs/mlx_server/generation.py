"""Models, and what they generate: the passes of the target, told as llama-server's events."""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .inputs import Ask, BadRequestError, MlxServerError


class ClientGoneError(Exception):
    """Whoever asked does not listen any more."""


@dataclass(frozen=True, slots=True)
class TargetPass:
    """What one pass of the target made: tokens with their log-probabilities, drafted and accepted counts."""

    tokens: Sequence[tuple[int, Any]]
    drafted: int = 0
    accepted: int = 0


@dataclass(slots=True)
class RequestCounters:
    """llama-server's cumulative counters of one request."""

    prompt_n: int
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0
    draft_n: int = 0
    draft_n_accepted: int = 0

    def told(self) -> dict[str, Any]:
        """As they are sent; those of drafting are absent until something was drafted."""
        names = [name for name in self.__slots__ if self.draft_n or not name.startswith("draft")]
        return {"cache_n": 0} | {name: getattr(self, name) for name in names}


class Models:
    """The loaded models; all but `encode`, `decode` and `render` belong to the thread that made them."""

    def __init__(self, options: argparse.Namespace) -> None:
        from mlx_lm import load
        from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache

        trust = {"trust_remote_code": options.trust_remote_code}
        self._options = options
        self._lock = threading.Lock()  # two threads must not use one tokenizer at once
        self._draft: Any = None
        self._model, self._tokenizer, *_ = load(
            str(options.model), adapter_path=options.adapter_path, tokenizer_config=trust, **trust
        )
        if options.draft_model is not None:
            self._draft, *_ = load(str(options.draft_model), tokenizer_config=trust, **trust)
            for path, model in ((options.model, self._model), (options.draft_model, self._draft)):
                if not can_trim_prompt_cache(make_prompt_cache(model)):
                    said = f"error: {path}: speculative decoding needs a cache that can be rewound, this model has none"
                    raise MlxServerError(said)

    @property
    def drafts(self) -> bool:
        """Whether there is a draft model."""
        return self._draft is not None

    def encode(self, text: str, *, whole: bool) -> list[int]:
        """The tokens of a text; a `whole` prompt begins with BOS where the model wants it."""
        bos = self._tokenizer.bos_token
        special = whole and (bos is None or not text.startswith(bos))
        with self._lock:
            found: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        return found

    def decode(self, tokens: list[int]) -> str:
        """The text of these tokens."""
        with self._lock:
            return str(self._tokenizer.decode(tokens))

    def render(self, messages: list[Any]) -> str:
        """The prompt that the model's chat template makes of messages."""
        if not self._tokenizer.has_chat_template:
            raise BadRequestError("this model has no chat template")
        more = self._options.chat_template_args
        with self._lock:
            made = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **more)
        return str(made)

    def events(self, ask: Ask, gone: Callable[[], bool]) -> Iterator[list[dict[str, Any]]]:
        """The events of a generation by steps, the final one last; ClientGoneError once nobody listens."""
        import mlx.core as mx
        from mlx_lm.generate import generation_stream, wired_limit

        def look(*_: Any) -> None:
            if gone():
                raise ClientGoneError

        prompt = ask.prompt if isinstance(ask.prompt, list) else self.encode(ask.prompt, whole=True)
        if not prompt:
            raise BadRequestError("the prompt is empty")
        mx.random.seed(ask.seed)
        detokenizer = self._tokenizer.detokenizer
        timings, stop_type = RequestCounters(len(prompt)), "limit"
        begun_s = first_s = time.perf_counter()
        with wired_limit(self._model, [generation_stream]):
            for step in self._steps(mx.array(prompt), ask, look):
                now_s = time.perf_counter()
                if not timings.predicted_n:
                    first_s = now_s
                    timings.prompt_ms = (now_s - begun_s) * 1000
                timings.predicted_ms = (now_s - first_s) * 1000
                timings.draft_n += step.drafted
                timings.draft_n_accepted += step.accepted
                events = []
                for token, logprobs in step.tokens:
                    timings.predicted_n += 1
                    if token in self._tokenizer.eos_token_ids:
                        stop_type = "eos"
                        break
                    detokenizer.add_token(token)
                    event = _event(detokenizer.last_segment, [token], timings)
                    if ask.with_probs:
                        event["completion_probabilities"] = [_probabilities(mx, token, logprobs)]
                    events.append(event)
                yield events
                if stop_type == "eos":
                    break
                look()
        detokenizer.finalize()
        settings = {"n_predict": ask.max_tokens, "seed": ask.seed, **ask.sampling, "speculative.n_max": ask.k or 0}
        final = _event(detokenizer.last_segment, [], timings)
        yield [
            final
            | {
                "stop": True,
                "stop_type": stop_type,
                "model": self._options.alias,
                "generation_settings": settings,
            }
        ]

    def _steps(self, prompt: Any, ask: Ask, look: Callable[..., None]) -> Iterator[TargetPass]:
        """The passes of the target, the prompt's first."""
        from mlx_lm.generate import generate_step
        from mlx_lm.sample_utils import make_sampler

        names = ("kv_bits", "kv_group_size", "quantized_kv_start", "prefill_step_size")
        common: dict[str, Any] = {name: getattr(self._options, name) for name in names}
        common["sampler"] = make_sampler(**ask.sampling)
        if ask.k:
            yield from self._drafted(prompt, ask.k, ask.max_tokens, common, look)
            return
        common |= {"max_kv_size": self._options.max_kv_size, "prompt_progress_callback": look}
        for token, logprobs in generate_step(prompt, self._model, max_tokens=ask.max_tokens, **common):
            yield TargetPass([(token, logprobs)])

    def _drafted(
        self, prompt: Any, k: int, max_tokens: int, common: Mapping[str, Any], look: Callable[..., None]
    ) -> Iterator[TargetPass]:
        """As `_steps`, verifying drafts of up to `k` tokens."""
        import mlx.core as mx
        from mlx_lm.generate import speculative_generate_step

        draft_cache, _ = self._filled(self._draft, prompt, {**common, "sampler": None}, look)
        cache, (token, logprobs) = self._filled(self._model, prompt, common, look)
        yield TargetPass([(token, logprobs)])
        left = max_tokens - 1
        if not left:
            return
        passes = speculative_generate_step(
            mx.array([token]),
            self._model,
            self._draft,
            num_draft_tokens=k,
            max_tokens=left,
            prompt_cache=[*cache, *draft_cache],
            **common,
        )
        tokens: list[tuple[int, Any]] = []
        accepted, drafted = 0, min(k, left)
        for token, logprobs, from_draft in passes:
            tokens.append((token, logprobs))
            accepted += from_draft
            left -= 1
            if not from_draft or not left:
                yield TargetPass(tokens, drafted, accepted)
                tokens, accepted, drafted = [], 0, min(k, left)

    def _filled(
        self, model: Any, prompt: Any, common: Mapping[str, Any], look: Callable[..., None]
    ) -> tuple[list[Any], tuple[int, Any]]:
        """A cache with the whole prompt, and the token that follows with its log-probabilities."""
        from mlx_lm.generate import generate_step
        from mlx_lm.models.cache import make_prompt_cache
        from mlx_lm.sample_utils import greedy_sampler

        seen: list[tuple[Any, Any]] = []
        choose = common["sampler"] or greedy_sampler

        def remember(logprobs: Any) -> Any:
            seen.append((choose(logprobs), logprobs))
            return seen[-1][0]

        cache = make_prompt_cache(model)
        more = {**common, "sampler": remember, "prompt_cache": cache, "prompt_progress_callback": look}
        # With max_tokens 0 the next token is chosen, and neither yielded nor processed in its turn.
        for _ in generate_step(prompt, model, max_tokens=0, **more):
            pass
        sampled, logprobs = seen[-1]
        return cache, (sampled.item(), logprobs.squeeze(0))


def _event(text: str, tokens: list[int], timings: RequestCounters) -> dict[str, Any]:
    """One event of a stream, as llama-server words it."""
    return {
        "index": 0,
        "content": text,
        "tokens": tokens,
        "stop": False,
        "tokens_predicted": timings.predicted_n,
        "tokens_evaluated": timings.prompt_n,
        "timings": timings.told(),
    }


def _probabilities(mx: Any, token: int, logprobs: Any) -> dict[str, Any]:
    """The two likeliest candidates for a token, the best first, with natural logarithms of their probabilities."""
    top = mx.argpartition(-logprobs, kth=1)[:2]
    found = sorted(zip(logprobs[top].tolist(), top.tolist(), strict=True), reverse=True)
    best = [{"id": number, "logprob": value if math.isfinite(value) else None} for value, number in found]
    return {"id": token, "logprob": logprobs[token].item(), "top_logprobs": best}
