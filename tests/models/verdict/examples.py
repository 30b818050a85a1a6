"""Verdicts as texts that several files of tests take: the layout that is written, and the three-line blocks."""

from models.pairs.preference import Task
from models.verdict.grammar import Dimension, Total, Verdict

TASK = Task.IMAGE_GENERATION
LINES = (
    "1. Semantic consistency: Image 1 (8/10) - shows all of it; Image 2 (6/10) - the hat is missing\n"
    "2. Aesthetics: Image 1 (7/10) - calm colours; Image 2 (7/10) - good light\n"
)
BLOCKS = (
    "1. Semantic consistency:\n   Image 1 (8/10) - shows all of it\n   Image 2 (6/10) - the hat is missing\n"
    "2. Aesthetics:  \n   Image 1 (7/10) - calm colours\n   Image 2 (7/10) - good light\n"
)
TOTALS = "Total score:\nImage 1: 8+7=15\nImage 2: 6+7=13\n"
ANSWER = "<answer>Image 1 is better</answer>"
GOOD = f"<think>\n{LINES}{TOTALS}</think>\n{ANSWER}"
EXPECTED = Verdict(
    task=TASK,
    preferred=1,
    dimensions=(
        Dimension("Semantic consistency", (8, 6), ("shows all of it", "the hat is missing")),
        Dimension("Aesthetics", (7, 7), ("calm colours", "good light")),
    ),
    totals=(Total((8, 7), 15), Total((6, 7), 13)),
)


def reasoned(inside: str) -> str:
    """A thinking answer with this inside its reasoning block."""
    return f"<think>\n{inside}</think>\n{ANSWER}"
