"""What a chat template writes before the answer, so that every part of the recipe uses the same text.

Chat templates of thinking models open `<think>` themselves (Qwen3-VL-Thinking), or write an empty block where thinking
is off (Qwen3.5, https://huggingface.co/Qwen/Qwen3.5-9B, `enable_thinking=False`). Then a part of the answer's grammar
is in the prompt. `load_processor` normalises the template that it finds, to one in which

- `enable_thinking` true, or not given, asks for reasoning: the prompt ends before `<think>` or just after it;
- `enable_thinking` false asks for the answer alone: what `<think>` the prompt opens is closed in it.

A template for which that holds already stays byte for byte as it is. A model that is trained here is saved with the
normalised template, so another server, such as vLLM, renders the text it was trained on; for direct
answers they send `chat_template_kwargs={"enable_thinking": false}`.

`prompt_text` renders a prompt, and `opening` is what of the answer it holds: sampling, judging and rewards put it
before what the model writes, and `target` cuts it off a training target.
"""

import re
from collections.abc import Sequence
from typing import Any

from models.errors import ModelError
from models.verdict.grammar import THINK_CLOSE, THINK_OPEN, Mode

SWITCHES = ("enable_thinking", "thinking")  # Qwen3 and GLM; DeepSeek-V3.1 and Granite
EMPTY_BLOCK_END = f"\n{THINK_CLOSE}\n\n"  # after `<think>\n`: the empty block as Qwen's templates write it

_PROBE = [{"role": "user", "content": [{"type": "text", "text": "question"}]}]
_MARK = "the answer stands here"
_OPEN = re.compile(rf"{re.escape(THINK_OPEN)}\s*\Z")
_EMPTY = re.compile(rf"{re.escape(THINK_OPEN)}\s*{re.escape(THINK_CLOSE)}\s*\Z")


def prompt_text(processor: Any, messages: Sequence[dict[str, Any]], mode: Mode) -> str:
    """The text of a prompt, up to where the model writes on. The processor is one of `load_processor`."""
    return _rendered(processor, messages, enable_thinking=mode == "think")


def opening(processor: Any, mode: Mode) -> str:
    """What of an answer the prompt holds already: `<think>` and a line break, or nothing.

    An empty block before a direct answer is none of its grammar, and so it is nothing too.
    """
    found = _OPEN.search(prompt_text(processor, _PROBE, mode)) if processor.chat_template else None
    return found[0] if found else ""


def target(processor: Any, answer: str, mode: Mode) -> str:
    """What a model is to write for `answer`: without the opening, and with what the template ends a turn with.

    Raises `ModelError` for a thinking answer that does not begin with the opening.
    """
    begun = opening(processor, mode)
    if not answer.startswith(begun):
        # The tag and its line break are written apart: an answer may have other white space after the tag.
        if not answer.startswith(begun.rstrip()):
            raise ModelError(f"the chat template opens {begun!r} but the answer begins with {answer[:20]!r}")
        begun = begun.rstrip()
        answer = f"{begun}{answer[len(begun) :].lstrip()}"
    return answer[len(begun) :] + turn_end(processor)


def turn_end(processor: Any) -> str:
    """What the template writes after an assistant's answer, such as `<|im_end|>` and a line break."""
    turn = {"role": "assistant", "content": [{"type": "text", "text": _MARK}]}
    rendered = processor.apply_chat_template([*_PROBE, turn], tokenize=False)
    return str(rendered).rpartition(_MARK)[2]


def normalise(processor: Any) -> Any:
    """The processor, its template normalised in place if need be. Raises `ModelError` for one that cannot be.

    A processor without a template, or with several by name, stays as it is.
    """
    import jinja2

    template = getattr(processor, "chat_template", None)
    if not isinstance(template, str):
        return processor
    try:
        if _is_normal(processor):
            return processor
        processor.chat_template = _normalised(processor, template)
        why = "" if _is_normal(processor) else "thinking stays open, or closed, whatever enable_thinking is"
    except jinja2.TemplateError as error:
        why = str(error)
    if why:
        processor.chat_template = template
        raise ModelError(f"the chat template cannot be used ({why}): give the model another chat_template.jinja")
    if getattr(processor.tokenizer, "chat_template", None):
        processor.tokenizer.chat_template = processor.chat_template
    return processor


def _is_normal(processor: Any) -> bool:
    """Whether think prompts, also by default, hold no empty block, and direct prompts no open one."""
    default, think = _rendered(processor, _PROBE), _rendered(processor, _PROBE, enable_thinking=True)
    direct = _rendered(processor, _PROBE, enable_thinking=False)
    return default == think and not _EMPTY.search(think) and not _OPEN.search(direct)


def _normalised(processor: Any, template: str) -> str:
    """The template with a preamble that sets its own switch, and repairs where it has none."""
    default = _rendered(processor, _PROBE)
    texts = {
        (name, value): _rendered(processor, _PROBE, **{name: value}) for name in SWITCHES for value in (True, False)
    }
    switch = next((name for name in SWITCHES if texts[name, True] != texts[name, False]), None)
    think = texts[switch, True] if switch else default
    direct = texts[switch, False] if switch else default
    head = "{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}"
    if switch and switch != "enable_thinking":
        head += f"{{%- set {switch} = enable_thinking -%}}"
    body = template.removesuffix("\n")
    if empty := _EMPTY.search(think):
        body = (
            "{% set written %}" + body + "{% endset %}"
            f"{{% if add_generation_prompt and enable_thinking %}}{{{{ written[:-{len(empty[0])}] }}}}"
            "{% else %}{{ written }}{% endif %}"
        )
    if _OPEN.search(direct):
        body += f"{{% if add_generation_prompt and not enable_thinking %}}{{{{ {EMPTY_BLOCK_END!r} }}}}{{% endif %}}"
    return head + body


def _rendered(processor: Any, messages: Sequence[dict[str, Any]], **arguments: bool) -> str:
    known = {name: value for name, value in arguments.items() if name in str(processor.chat_template)}
    return str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **known))
