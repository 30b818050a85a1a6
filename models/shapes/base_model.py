"""The tiny base model's parts before training: configuration, tokenizer, processor.

A stock Qwen3-VL (transformers' own classes, nothing subclassed) of about 2.5 M parameters. Its
tokenizer is a byte-level BPE learned from this world's texts, in which each half of the fixed
instructions (`models.verdict.instructions`) is one added token, so that the same prompts serve tiny and large models.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.pairs.preference import Task
from models.shapes.draw import SIZE
from models.verdict.grammar import ANSWER_CLOSE, ANSWER_OPEN, QUOTE_CLOSE, QUOTE_OPEN, THINK_CLOSE, THINK_OPEN
from models.verdict.instructions import mode_instructions, task_instructions

END, PAD = "<|im_end|>", "<|endoftext|>"
SPECIAL = (PAD, "<|im_start|>", END, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
VOCABULARY = (
    768  # beyond the words of this world there are scraps of dictated texts (models/shapes/lessons/dictation.py)
)
CONTEXT = 1024  # tokens
HIDDEN, TEXT_LAYERS, VISION_LAYERS, HEADS = 128, 4, 3, 4
PATCH, MERGE = 16, 2  # Qwen3-VL's own values: one token sees 32x32 pixels

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part['type'] == 'video' -%}{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}"
    "{%- else -%}{{- part['text'] -}}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def instruction_tokens() -> list[str]:
    """The fixed texts that are one token each in the tiny vocabulary."""
    return [*(task_instructions(task) for task in Task), mode_instructions("think"), mode_instructions("direct")]


def build_tokenizer(texts: Iterable[str], more_fixed: Iterable[str] = ()) -> Any:
    """Learn the byte-level BPE from `texts`; `more_fixed` become single tokens as the instructions do."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tags = (QUOTE_OPEN, QUOTE_CLOSE, THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
    fixed = [*instruction_tokens(), *more_fixed, *tags]
    bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in fixed])
    return _as_transformers(bpe)


def reworded_tokenizer(base: Path) -> Any:
    """The tokenizer of a base whose instructions had another wording: new words on old tokens, new tags after them.

    The instructions are its first tokens that are neither learned nor special, in the order of `instruction_tokens`.
    """
    from tokenizers import Tokenizer

    state = json.loads((base / "tokenizer.json").read_text())
    fixed = [token for token in state["added_tokens"] if not token["special"]]
    for token, words in zip(fixed, instruction_tokens(), strict=False):
        token["content"] = words
    known = {token["content"] for token in fixed}
    for tag in (QUOTE_OPEN, QUOTE_CLOSE):
        if tag not in known:
            state["added_tokens"].append({**fixed[-1], "id": state["added_tokens"][-1]["id"] + 1, "content": tag})
    return _as_transformers(Tokenizer.from_str(json.dumps(state)))


def _as_transformers(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    # Not Qwen2Tokenizer: that class puts its own pre-tokenizer in place of the learned one when it is loaded.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=list(SPECIAL[1:]),
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: Any) -> Any:
    """The stock Qwen3-VL processor around the tiny tokenizer; images stay at their 64x64 pixels."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    pixels = {"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": SIZE * SIZE}
    shape: dict[str, Any] = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": 2}
    mean_std: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels, **shape, **mean_std),
        video_processor=Qwen3VLVideoProcessor(size=pixels, **shape, **mean_std),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def build_config(tokenizer: Any) -> Any:
    """A Qwen3-VL configuration of about 2.5 M parameters for `tokenizer`."""
    from transformers import Qwen3VLConfig

    token = tokenizer.convert_tokens_to_ids
    spread = 0.08  # initializer_range: learns far faster than the stock 0.02 at this width (measured)
    return Qwen3VLConfig(  # type: ignore[call-arg]  # keeps initializer_range as an attribute, untyped
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": 3 * HIDDEN,
            "num_hidden_layers": TEXT_LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "head_dim": HIDDEN // HEADS,
            "max_position_embeddings": CONTEXT,
            "initializer_range": spread,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": token(END),
            "pad_token_id": token(PAD),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": VISION_LAYERS,
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_heads": HEADS,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": (SIZE // PATCH) ** 2,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": spread,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        initializer_range=spread,
    )
