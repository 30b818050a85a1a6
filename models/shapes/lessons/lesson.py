"""A lesson: a request and its answer in plain words, and how its request is put.

None holds a tag or a line of the verdict grammar, which is the cold start's to teach.
"""

from dataclasses import dataclass
from random import Random

from PIL import Image

from models.pairs.preference import Task
from models.shapes.lessons.styles import NOUNS, STYLES
from models.shapes.pairs import MadePair
from models.verdict.grammar import candidate_names
from models.verdict.instructions import mode_instructions
from models.verdict.prompts import Message, chat

CHECK = "Check this one alone."
VERIFY = "Is this one right?"
GLANCE = "Answer in a word."
LOOK = "Say what you see."
FOLLOW = "Follow what moves."
MATCH = "Match these words."
ADD = "Add up and compare."
REQUESTS = (CHECK, VERIFY, GLANCE, LOOK, FOLLOW, MATCH, ADD, *(style.request for style in STYLES))


@dataclass(frozen=True)
class Lesson:
    """A request in chat form, the frames it shows by uri, and the answer to learn."""

    messages: list[Message]
    frames: dict[str, list[Image.Image]]
    answer: str


def request_for(made: MadePair, asked: str) -> list[Message]:
    """The request for a pair with another wish than a verdict."""
    messages = chat(made.pair, "direct")
    first = messages[0]["content"][0]
    first["text"] = first["text"].replace(mode_instructions("direct"), asked)
    return messages


def with_one_alone(made: MadePair, which: int, asked: str) -> tuple[list[Message], dict[str, list[Image.Image]]]:
    """The request for a pair with one candidate removed, and the frames it still shows."""
    messages = request_for(made, asked)
    parts = messages[0]["content"]
    size = 2 if made.pair.task.judges_media else 1  # message parts a candidate: its name and medium, or its text
    other = len(parts) - size * (1 + which)  # where the parts of the other candidate begin
    del parts[other : other + size]
    shown = {part[part["type"]]["url"] for part in parts if part["type"] != "text"}
    return messages, {uri: one for uri, one in made.frames.items() if uri in shown}


def any_names(rng: Random) -> tuple[str, str]:
    """What the candidates are called: a name is to be copied from the request."""
    noun = rng.choice(NOUNS)
    return f"{noun} 1", f"{noun} 2"


def with_names(messages: list[Message], task: Task, names: tuple[str, str]) -> list[Message]:
    """The request with its candidates called otherwise."""
    for part in messages[0]["content"][1:]:
        for old, new in zip(candidate_names(task), names, strict=True):
            if part["type"] == "text" and part["text"].startswith(f"{old}:"):
                part["text"] = new + part["text"].removeprefix(old)
    return messages
