"""Decoding many completions together: `generate` with another loop around the model's steps.

What `transformers.generate` spends more than a loop has to, and what is done here instead:

- it prefills a prompt once for each of its samples; here a prompt is prefilled once, and its cache is repeated;
- it steps rows that have ended until the longest ends; here they leave the batch;
- its caches are copied, or attended over in full length, at every token (`growing_cache`).

No row's tokens depend on the others': they are its argmax, or a draw from its own stream (`models.generation.seeded`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from models.generation.decoding.growing_cache import give_room
from models.generation.decoding.one_query import one_query_attention
from models.generation.seeded import SeededSampling
from models.generation.tokens import without_own_defaults, written

BY_ROW = {"attention_mask": 0, "token_type_ids": 0, "mm_token_type_ids": 0, "position_ids": -2}  # the rows' dimension


@dataclass(kw_only=True)
class Decoding:
    """How completions are written: `samples` of each prompt, of `max_tokens` tokens at most, until one of `stops`.

    `streams` draws the tokens of each row, prompt by prompt and then by sample; without it they are greedy. `never` are
    not written. `on_tokens(rows, tokens)` is called for each step with the rows that are written still and the token
    of each; it may raise. `is_over(row, tokens)` tells of a row, from its tokens so far, that it need not go on.
    """

    samples: int
    max_tokens: int
    stops: Sequence[int]
    pad: int
    never: Sequence[int] = ()
    streams: SeededSampling | None = None
    on_tokens: Callable[[Sequence[int], Sequence[int]], None] | None = None
    is_over: Callable[[int, Sequence[int]], bool] | None = None
    written: list[list[int]] = field(default_factory=list)

    def run(self, model: Any, inputs: dict[str, Any]) -> list[list[int]]:
        """The tokens of each row, with the stop that ended it, if one did.

        `inputs` are the processor's, padded on the left. Raises what the model does.
        """
        config = GenerationConfig(
            max_new_tokens=self.max_tokens, do_sample=False, eos_token_id=list(self.stops), pad_token_id=self.pad
        )
        try:
            with torch.inference_mode(), one_query_attention(model), without_own_defaults(model):
                model.generate(**inputs, generation_config=config, custom_generate=self._loop)
        except _ShardedError:
            return self.stock(model, inputs)
        return self.written

    def stock(self, model: Any, inputs: dict[str, Any]) -> list[list[int]]:
        """The same tokens by transformers' own loop, which neither `on_tokens` nor `is_over` reach.

        For weights that are sharded over processes, which all have to make the same steps, and to measure against.
        """
        sampling: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        config = GenerationConfig(
            max_new_tokens=self.max_tokens,
            num_return_sequences=self.samples,
            eos_token_id=list(self.stops),
            suppress_tokens=list(self.never) or None,
            pad_token_id=self.pad,
            **(sampling if self.streams else {"do_sample": False}),
        )
        drawn = LogitsProcessorList([self.streams] if self.streams else [])
        with torch.inference_mode(), without_own_defaults(model):
            whole = model.generate(**inputs, generation_config=config, logits_processor=drawn)
        found = []
        for row in whole[:, inputs["input_ids"].shape[1] :].tolist():
            before, ended = written(row, list(self.stops))
            found.append(row[: len(before) + ended])
        return found

    def _loop(self, model: Any, input_ids: torch.Tensor, *_: Any, synced_gpus: bool = False, **given: Any) -> Any:
        """What `generate` calls once the inputs, the positions and an empty cache are prepared."""
        if synced_gpus:
            raise _ShardedError
        state = {name: value for name, value in given.items() if name not in _LOOP_ARGUMENTS}
        prompt = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **state)
        outputs = model(**prompt, return_dict=True)
        logits = outputs.logits[:, -1]
        state = _next_state(model, outputs, state)
        del outputs, prompt
        held = list(range(len(input_ids) * self.samples))  # the rows that the batch has, of which some have ended
        if self.samples > 1:
            index = torch.arange(len(input_ids), device=input_ids.device).repeat_interleave(self.samples)
            logits = logits.index_select(0, index)
            _select(state, index)
        give_room(state["past_key_values"])
        self.written = [[] for _ in held]
        going = [True] * len(held)  # of the held ones
        wasted = 0
        for step in range(self.max_tokens):
            places = [at for at, on in enumerate(going) if on]
            tokens = self._choose(logits, held, places)
            listed = tokens.tolist()
            for at in places:
                self.written[held[at]].append(listed[at])
            if self.on_tokens is not None:
                self.on_tokens([held[at] for at in places], [listed[at] for at in places])
            for at in places:
                going[at] = not self._ended(held[at])
            left = sum(going)
            if not left or step + 1 == self.max_tokens:
                break
            # Rows leave once stepping the ended ones has cost about as much as the copy of the others.
            wasted += len(held) - left
            if wasted >= len(held):
                kept = [at for at, on in enumerate(going) if on]
                index = torch.tensor(kept, device=input_ids.device)
                tokens = tokens.index_select(0, index.to(tokens.device))
                _select(state, index)
                held, going, wasted = [held[at] for at in kept], [True] * left, 0
            inputs = model.prepare_inputs_for_generation(tokens[:, None], next_sequence_length=1, **state)
            outputs = model(**inputs, return_dict=True)
            logits = outputs.logits[:, -1]
            state = _next_state(model, outputs, state)
            del outputs, inputs
        return input_ids

    def _choose(self, logits: torch.Tensor, held: list[int], places: list[int]) -> torch.Tensor:
        """The next token of each held row, of which those at `places` count."""
        scores = logits.to(torch.float32, copy=True)
        if self.never:
            scores[:, list(self.never)] = -torch.inf
        if self.streams is None:
            return scores.argmax(dim=-1)
        tokens = scores.new_full((len(held),), self.pad, dtype=torch.long)
        at = torch.tensor(places, device=scores.device)
        some = scores if len(places) == len(held) else scores.index_select(0, at)
        tokens[at] = self.streams.draw(some, [held[place] for place in places])
        return tokens

    def _ended(self, row: int) -> bool:
        tokens = self.written[row]
        return tokens[-1] in self.stops or (self.is_over is not None and self.is_over(row, tokens))


class _ShardedError(Exception):
    """The model's weights are sharded: rows that leave in one process alone would leave the others waiting."""


_LOOP_ARGUMENTS = {"logits_processor", "stopping_criteria", "generation_config", "streamer", "tokenizer"}


def _next_state(model: Any, outputs: Any, state: dict[str, Any]) -> dict[str, Any]:
    """What the next step is given beside its tokens. Of positions the last one alone matters to it."""
    following: dict[str, Any] = model._update_model_kwargs_for_generation(outputs, state)  # noqa: SLF001
    if (positions := following.get("position_ids")) is not None:
        following["position_ids"] = positions[..., -1:]
    return following


def _select(state: dict[str, Any], index: torch.Tensor) -> None:
    """Keep the rows at these places, in their order; a row may be kept several times."""
    state["past_key_values"].reorder_cache(index)
    for name, dimension in BY_ROW.items():
        if (value := state.get(name)) is not None:
            state[name] = value.index_select(dimension, index)
