"""The embedded world: small scenes of coloured shapes, their captions, and the flaws they can have.

A picture has four places (a 2x2 grid, one 32-pixel cell each); a video is four such frames in which
one shape travels along a row or a column. A caption names every shape with its place, so that what is
wanted and what is shown can be compared shape by shape. Everything is drawn from a seeded generator.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from random import Random

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross")
PLACES = ("top left", "top right", "bottom left", "bottom right")
DIRECTIONS = ("right", "left", "down", "up")
# Where a moving shape travels: its track's name, and the places at the track's two ends.
TRACKS = {"top": (0, 1), "bottom": (2, 3), "left": (0, 2), "right": (1, 3)}
NEAR_COLOURS = {
    "red": "orange",
    "orange": "red",
    "blue": "purple",
    "purple": "blue",
    "green": "yellow",
    "yellow": "green",
}
NEAR_SHARE = 0.5  # of the wrong colours below the hard level, where all are near
FRAMES = 4
TIMES = tuple(frame / (FRAMES - 1) for frame in range(FRAMES))  # of the frames, from start to end
HELD_OUT_SHARE = 5  # one scene in so many, by digest, belongs to the held-out split


class Level(StrEnum):
    """Difficulty: how many shapes, and how faint the flaws are."""

    EASY = "easy"
    NORMAL = "normal"
    HARD = "hard"


class Flaw(StrEnum):
    """What is wrong with the worse candidate of a generation pair."""

    COLOUR = "colour"
    FORM = "form"
    COUNT = "count"
    RELATION = "relation"
    MISSING = "missing"
    DIRECTION = "direction"
    FLICKER = "flicker"
    JUMP = "jump"
    NOISE = "noise"
    BLUR = "blur"
    CUT = "cut"


@dataclass(frozen=True)
class Shape:
    """One coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Motion:
    """A shape that travels along a track (`top`, `bottom`, `left`, `right`) towards a direction."""

    shape: Shape
    track: str
    direction: str

    @property
    def ends(self) -> tuple[int, int]:
        """The places where it starts and where it ends."""
        first, last = TRACKS[self.track]
        return (last, first) if self.direction in ("left", "up") else (first, last)

    def path(self, times: Sequence[float], flow: str = "smooth", spoiled: int = 0) -> tuple[str, ...]:
        """The place it is nearest to at each of `times` (0 where it starts, 1 where it ends).

        At the time numbered `spoiled`, a shape that `flickers` is at `nothing`, and one that `jumps` beside its track.
        """
        start, end = self.ends
        places = [start if time < 0.5 else end for time in times]
        if flow == "jumps":
            places[spoiled] ^= 2 if self.track in ("top", "bottom") else 1
        hidden = spoiled if flow == "flickers" else None
        return tuple("nothing" if at == hidden else PLACES[place] for at, place in enumerate(places))


@dataclass(frozen=True)
class Scene:
    """What a picture or video holds: at most one shape a place, and one moving shape in a video."""

    places: tuple[Shape | None, Shape | None, Shape | None, Shape | None]
    motion: Motion | None = None

    @property
    def digest(self) -> str:
        """sha256 of the content; two scenes with one digest have the same caption."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def held_out(self) -> bool:
        """Whether the scene belongs to the held-out split; decided by its digest alone."""
        return int(self.digest[:8], 16) % HELD_OUT_SHARE == 0

    @property
    def count(self) -> int:
        """How many shapes there are, the moving one included."""
        return sum(shape is not None for shape in self.places) + (self.motion is not None)

    def put(self, place: int, shape: Shape | None) -> "Scene":
        """The scene with another content at one place."""
        first, second, third, fourth = (shape if at == place else old for at, old in enumerate(self.places))
        return replace(self, places=(first, second, third, fourth))


EMPTY = Scene(places=(None, None, None, None))


def random_shape(rng: Random) -> Shape:
    """Any of the 30 coloured shapes, evenly."""
    return Shape(rng.choice(COLOURS), rng.choice(SHAPES))


def distinct_shapes(rng: Random, count: int) -> list[Shape]:
    """`count` shapes whose colours and forms all differ, so that each can be named by either alone."""
    return [Shape(*both) for both in zip(rng.sample(COLOURS, count), rng.sample(SHAPES, count), strict=True)]


def random_scene(rng: Random, level: Level, *, video: bool, held_out: bool) -> Scene:
    """A scene of the wanted split: 1-2, 2-3 or 3-4 shapes (videos: a moving one, and 0-1, 1 or 1-2 at rest)."""
    while True:
        scene = _draw_video(rng, level) if video else _draw_picture(rng, level)
        if scene.held_out == held_out:
            return scene


def _draw_picture(rng: Random, level: Level) -> Scene:
    count = rng.choice({Level.EASY: (1, 2), Level.NORMAL: (2, 3), Level.HARD: (3, 4)}[level])
    scene = EMPTY
    for place, shape in zip(rng.sample(range(len(PLACES)), count), distinct_shapes(rng, count), strict=True):
        scene = scene.put(place, shape)
    return scene


def _draw_video(rng: Random, level: Level) -> Scene:
    at_rest = rng.choice({Level.EASY: (0, 1), Level.NORMAL: (1,), Level.HARD: (1, 2)}[level])
    track = rng.choice(tuple(TRACKS))
    direction = rng.choice(("right", "left") if track in ("top", "bottom") else ("down", "up"))
    moving, *resting = distinct_shapes(rng, 1 + at_rest)
    free = [place for place in range(len(PLACES)) if place not in TRACKS[track]]
    scene = replace(EMPTY, motion=Motion(moving, track, direction))
    for place, shape in zip(rng.sample(free, at_rest), resting, strict=True):
        scene = scene.put(place, shape)
    return scene


def caption_of(scene: Scene) -> str:
    """`a red circle at top left and a blue star moving down on the right`, in reading order."""
    parts = []
    if scene.motion is not None:
        where = ("at the " if scene.motion.track in ("top", "bottom") else "on the ") + scene.motion.track
        parts.append(f"{_article(scene.motion.shape)} {scene.motion.shape} moving {scene.motion.direction} {where}")
    parts += [
        f"{_article(shape)} {shape} at {PLACES[at]}" for at, shape in enumerate(scene.places) if shape is not None
    ]
    return " and ".join(parts)


def _article(shape: Shape) -> str:
    return "an" if shape.colour == "orange" else "a"


def parse_caption(text: str) -> Scene:
    """The scene that a caption asks for. Raises `ValueError` for a text that is no caption of this world."""
    scene = EMPTY
    for part in text.split(" and "):
        words = part.split()
        if len(words) < 5 or words[0] not in ("a", "an") or words[1] not in COLOURS or words[2] not in SHAPES:
            raise ValueError(f"not a caption of the shapes world: {text!r}")
        shape, rest = Shape(words[1], words[2]), words[3:]
        if rest[0] == "moving" and rest[-1] in TRACKS:
            scene = replace(scene, motion=Motion(shape, rest[-1], rest[1]))
        elif (where := " ".join(rest[1:])) in PLACES:
            scene = scene.put(PLACES.index(where), shape)
        else:
            raise ValueError(f"not a caption of the shapes world: {text!r}")
    return scene


_ANY_FLAWS = (Flaw.COLOUR, Flaw.FORM, Flaw.COUNT, Flaw.MISSING, Flaw.NOISE, Flaw.BLUR)
IMAGE_FLAWS = (*_ANY_FLAWS, Flaw.RELATION, Flaw.CUT)
VIDEO_FLAWS = (*_ANY_FLAWS, Flaw.DIRECTION, Flaw.FLICKER, Flaw.JUMP)


def violate(scene: Scene, flaw: Flaw, level: Level, rng: Random) -> Scene | None:
    """The scene with its content changed so that it breaks the caption.

    `None` when this scene has no room for the flaw (a relation needs two shapes, a count a free place).
    Flaws of rendering (noise, blur, cut, flicker, jump) leave the content as it is.
    """
    filled = [at for at, shape in enumerate(scene.places) if shape is not None]
    blocked = TRACKS[scene.motion.track] if scene.motion else ()
    free = [at for at, shape in enumerate(scene.places) if shape is None and at not in blocked]
    if flaw in (Flaw.COLOUR, Flaw.FORM):
        return _change_attribute(scene, flaw, filled, level, rng)
    if flaw is Flaw.COUNT:
        return scene.put(rng.choice(free), random_shape(rng)) if free else None
    if flaw is Flaw.MISSING:
        return scene.put(rng.choice(filled), None) if filled and scene.count > 1 else None
    if flaw is Flaw.RELATION:
        if len(filled) < 2:
            return None
        first, second = rng.sample(filled, 2)
        return scene.put(first, scene.places[second]).put(second, scene.places[first])
    if flaw is Flaw.DIRECTION:
        assert scene.motion is not None, "only videos move"
        opposite = {"right": "left", "left": "right", "down": "up", "up": "down"}[scene.motion.direction]
        return replace(scene, motion=replace(scene.motion, direction=opposite))
    return scene


def other_colour(colour: str, level: Level, rng: Random) -> str:
    """A colour close to this one, always at the hard level and every other time at the others; else any other."""
    if level is Level.HARD or rng.random() < NEAR_SHARE:
        return NEAR_COLOURS[colour]
    return rng.choice([other for other in COLOURS if other != colour])


def _change_attribute(scene: Scene, flaw: Flaw, filled: list[int], level: Level, rng: Random) -> Scene:
    """Another colour or another form for one shape."""
    moving = scene.motion is not None and (not filled or rng.random() < 0.5)
    place = -1 if moving else rng.choice(filled)
    old = scene.motion.shape if moving and scene.motion else scene.places[place]
    assert old is not None
    if flaw is Flaw.COLOUR:
        new = replace(old, colour=other_colour(old.colour, level, rng))
    else:
        new = replace(old, shape=rng.choice([form for form in SHAPES if form != old.shape]))
    if moving and scene.motion is not None:
        return replace(scene, motion=replace(scene.motion, shape=new))
    return scene.put(place, new)
