"""How a verdict is written: as a target of training, and as one text of the parts that a server answered in."""

from models.verdict.grammar import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
    TOTAL_HEADING,
    Mode,
    Verdict,
    answer_text,
    candidate_names,
)
from models.verdict.parsing import parse_verdict


def render_verdict(verdict: Verdict, *, mode: Mode = "think") -> str:
    """The text of a verdict in the layout we write.

    Raises `ValueError` for a verdict that would not read back as itself, so that no training target
    is ever outside the grammar.
    """
    answer = answer_text(verdict.task, verdict.preferred)
    if mode == "direct":
        return answer
    if verdict.totals is None:
        raise ValueError("a thinking verdict needs totals: build it with Verdict.from_dimensions")
    first, second = candidate_names(verdict.task)
    lines = [THINK_OPEN]
    for number, dimension in enumerate(verdict.dimensions, start=1):
        lines.append(
            f"{number}. {dimension.name}: {first} ({dimension.scores[0]}/10) - {dimension.rationales[0]}; "
            f"{second} ({dimension.scores[1]}/10) - {dimension.rationales[1]}"
        )
    lines.append(TOTAL_HEADING)
    for name, total in zip((first, second), verdict.totals, strict=True):
        lines.append(f"{name}: {'+'.join(map(str, total.terms))}={total.value}")
    lines.append(THINK_CLOSE)
    text = "\n".join(lines) + f"\n{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"
    if parse_verdict(text, verdict.task) != verdict:
        raise ValueError(f"this verdict cannot be written so that it reads back as itself: {verdict!r}")
    return text


def with_reasoning(reasoning: str, content: str) -> str:
    r"""An answer in one text, whose reasoning block an endpoint told apart from the rest.

    Content that has a reasoning block of its own stays as it is: what was told apart was another one, as of a model
    that thinks before it writes the block that it is asked for.

    >>> with_reasoning("1. ...", "<answer>Image 1 is better</answer>")
    '<think>\n1. ...\n</think>\n<answer>Image 1 is better</answer>'
    """
    if THINK_OPEN in content or not reasoning.strip():
        return content
    inside = reasoning.strip().removeprefix(THINK_OPEN).removesuffix(THINK_CLOSE).strip()
    return f"{THINK_OPEN}\n{inside}\n{THINK_CLOSE}\n{content.strip()}"


def with_opening(content: str) -> str:
    r"""An answer whose reasoning block was opened in the prompt, where nobody here sees it, with its opening.

    That is how a server without a reasoning parser answers for a model whose chat template opens the block.

    >>> with_opening("1. ...\n</think>\n<answer>Image 1 is better</answer>").startswith("<think>\n1.")
    True
    """
    if THINK_OPEN in content or THINK_CLOSE not in content:
        return content
    return f"{THINK_OPEN}\n{content.lstrip()}"
