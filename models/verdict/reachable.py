"""Whether what a model has begun to write may still become a thinking verdict, by the strict or the lenient reading.

Both want the opening tag first: the grammar after white space alone (`parsing.py`), the lenient reading after marks of
emphasis, code fences and look-alike spaces too, in any case of letters (`lenient.py`). A text that begins otherwise is
malformed whatever follows, so that nothing is lost by writing no more of it.
"""

import re

from models.verdict.grammar import THINK_OPEN
from models.verdict.lenient import FENCE, unadorned

UNFINISHED = "\ufffd"  # what a tokenizer makes of a character whose bytes are not all there yet


def opens_thinking(text: str) -> bool | None:
    r"""True if the text begins with the opening tag, None if that may still come, False if no verdict can begin so.

    >>> opens_thinking("<think>\n1."), opens_thinking(" <th"), opens_thinking("1. Aesthetics")
    (True, None, False)
    """
    *whole, last = text.rstrip(UNFINISHED).split("\n")
    kept = [line for line in whole if not FENCE.fullmatch(line)]
    if "`" not in last or not (FENCE.fullmatch(last) or not last.strip().strip("`")):
        kept.append(last)  # else it may yet be a fence of its own
    begun = "".join(unadorned("\n".join(kept)).replace("_", "").split())[: len(THINK_OPEN)]
    matches = all(re.fullmatch(re.escape(a), b, re.IGNORECASE) for a, b in zip(THINK_OPEN, begun, strict=False))
    return (True if len(begun) == len(THINK_OPEN) else None) if matches else False
