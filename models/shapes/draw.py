"""Drawing the embedded world: scenes to 64x64 pixel frames, with flaws of rendering, to PNG and APNG bytes."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models.shapes.world import FRAMES, PLACES, TIMES, Flaw, Level, Scene, Shape

CELL = 32  # pixels: one patch of the tiny base after its 2x2 merge
SIZE = 2 * CELL
SCALE = 2  # drawn so much larger, then reduced, for smooth edges
FRAME_MS = 250

RGB = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 80, 225),
    "yellow": (240, 215, 50),
    "purple": (150, 50, 190),
    "orange": (245, 135, 25),
}
BACKGROUNDS = ((245, 245, 245), (225, 228, 232), (205, 205, 200), (35, 35, 40), (60, 62, 66))

# Strength of the rendering flaws by level: standard deviation of noise (of 255), blur radius (pixels).
NOISE = {Level.EASY: 54.0, Level.NORMAL: 45.0, Level.HARD: 36.0}
BLUR = {Level.EASY: 3.6, Level.NORMAL: 3.0, Level.HARD: 2.5}
CUT_SHARE = 0.5  # of a cut shape's width, from the right


@dataclass(frozen=True)
class Look:
    """The incidental side of a drawing: background, each place's jitter and radius in pixels, the frame of a flaw."""

    background: tuple[int, int, int]
    jitter: tuple[tuple[int, int], ...]
    radius: tuple[int, ...]
    spoiled: int  # the frame of a video that a flicker or a jump is in

    @classmethod
    def random(cls, rng: Random) -> "Look":
        """One radius and jitter a place, and a fifth set for the moving shape."""
        count = len(PLACES) + 1
        return cls(
            background=rng.choice(BACKGROUNDS),
            jitter=tuple((rng.randint(-3, 3), rng.randint(-3, 3)) for _ in range(count)),
            radius=tuple(rng.randint(9, 12) for _ in range(count)),
            spoiled=rng.randrange(1, FRAMES),
        )


def outline(form: str, radius: float) -> list[tuple[float, float]]:
    """The corners of a form around the origin; as wide as high. A circle is its 24-gon."""
    if form == "square":
        side = radius * 0.9
        return [(-side, -side), (side, -side), (side, side), (-side, side)]
    if form == "triangle":
        return [(0, -radius), (radius, radius), (-radius, radius)]
    if form == "cross":
        arm = radius / 3
        quarter = [(arm, -radius), (arm, -arm), (radius, -arm)]
        return [point for turn in range(4) for point in _turned(quarter, turn)]
    corners = 24 if form == "circle" else 10
    points = []
    for corner in range(corners):
        reach = radius * (0.42 if form == "star" and corner % 2 else 1.0)
        angle = 2 * math.pi * corner / corners - math.pi / 2
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return points


def _turned(points: list[tuple[float, float]], quarters: int) -> list[tuple[float, float]]:
    for _ in range(quarters):
        points = [(-y, x) for x, y in points]
    return points


def draw_scene(scene: Scene, look: Look, flaw: Flaw | None, level: Level, rng: Random) -> list[Image.Image]:
    """The frames of a scene (one for a picture, `FRAMES` for a video), RGB, `SIZE` x `SIZE`."""
    count = FRAMES if scene.motion else 1
    cut = rng.choice([at for at, s in enumerate(scene.places) if s] or [-1]) if flaw is Flaw.CUT else None
    positions = _track_positions(scene, flaw, look.spoiled)
    frames = []
    for index in range(count):
        image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), look.background)
        for place, shape in enumerate(scene.places):
            if shape is not None:
                _stamp(image, shape, _centre(place), look, place, cut=place == cut)
        hidden = flaw is Flaw.FLICKER and index == look.spoiled
        if scene.motion is not None and not hidden:
            _stamp(image, scene.motion.shape, positions[index], look, len(PLACES), cut=cut == -1)
        frames.append(_degrade(image.resize((SIZE, SIZE), Image.Resampling.BOX), flaw, level, rng))
    return frames


def _centre(place: int) -> tuple[float, float]:
    return (place % 2) * CELL + CELL / 2, (place // 2) * CELL + CELL / 2


def _track_positions(scene: Scene, flaw: Flaw | None, spoiled: int) -> list[tuple[float, float]]:
    """Where the moving shape is in each frame; a jump puts it beside its track in one frame."""
    if scene.motion is None:
        return []
    start, end = (_centre(place) for place in scene.motion.ends)
    path = [(start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * t) for t in TIMES]
    if flaw is Flaw.JUMP:
        x, y = path[spoiled]
        path[spoiled] = (x, SIZE - y) if scene.motion.track in ("top", "bottom") else (SIZE - x, y)
    return path


def _stamp(image: Image.Image, shape: Shape, centre: tuple[float, float], look: Look, slot: int, *, cut: bool) -> None:
    dx, dy = look.jitter[slot]
    x, y, radius = centre[0] + dx, centre[1] + dy, look.radius[slot]
    points = [((x + px) * SCALE, (y + py) * SCALE) for px, py in outline(shape.shape, radius)]
    pen = ImageDraw.Draw(image)
    pen.polygon(points, fill=RGB[shape.colour])
    if cut:
        left = x + radius - 2 * radius * CUT_SHARE
        box = [left * SCALE, (y - radius - 2) * SCALE, (x + radius + 2) * SCALE, (y + radius + 2) * SCALE]
        pen.rectangle(box, fill=look.background)


def _degrade(frame: Image.Image, flaw: Flaw | None, level: Level, rng: Random) -> Image.Image:
    if flaw is Flaw.BLUR:
        return frame.filter(ImageFilter.GaussianBlur(BLUR[level]))
    if flaw is Flaw.NOISE:
        noise = np.random.default_rng(rng.getrandbits(64)).normal(0, NOISE[level], (SIZE, SIZE, 3))
        noisy: np.ndarray = np.clip(np.asarray(frame, dtype=np.float64) + noise, 0, 255)
        return Image.fromarray(noisy.astype(np.uint8))
    return frame


def encode(frames: Sequence[Image.Image]) -> bytes:
    """PNG bytes of one frame, or animated PNG bytes of several (lossless, `FRAME_MS` a frame)."""
    buffer = io.BytesIO()
    if len(frames) == 1:
        frames[0].save(buffer, format="PNG")
    else:
        frames[0].save(buffer, format="PNG", save_all=True, append_images=list(frames[1:]), duration=FRAME_MS, loop=0)
    return buffer.getvalue()
