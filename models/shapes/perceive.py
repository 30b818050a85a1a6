"""Seeing the embedded world in pixels alone: what the embedded teacher knows of a picture or a video.

Analysis by synthesis. A place's content is the coloured form whose drawing explains the place's pixels
best, over all sizes and jitters a drawing can have; a video is the moving shape, track, direction and
flow whose drawing explains all frames best. Nothing here receives what was drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models.media.frame_times import sample_frames
from models.shapes.assess import Seen
from models.shapes.draw import BLUR, CELL, CUT_SHARE, RGB, SCALE, SIZE, outline
from models.shapes.world import COLOURS, EMPTY, FRAMES, PLACES, SHAPES, TIMES, TRACKS, Motion, Scene, Shape

Array = np.ndarray  # float32 throughout

RADII = range(9, 13)  # pixels, as `Look.random` draws them
JITTERS = range(-3, 4)
COARSE = 2  # places are matched at half the resolution: noise halves, and so does nothing that matters
# Below this much explained squared error (of 255, summed over the coarse pixels of a place) a place is empty:
# chance explains at most 2e4 at the strongest noise, the smallest star on the nearest background 1.5e5.
LEAST_EXPLAINED = 6e4
# Templates multiplied at once. OpenBLAS shares larger products out to threads, which beside a training job costs
# 30x what it saves (7 ms against 0.2 ms a place, measured on two busy cores).
BLOCK = len(SHAPES) * len(JITTERS) ** 2
NOISY_RESIDUAL = 6.0  # median distance (of 255) of a pixel from its neighbourhood's median; 0 without noise
SHARP_SHARE = 0.3  # of the shapes' pixels that have a palette colour exactly; blur leaves under half of that
CUT_GAIN = 1.05  # a cut form must explain so much more than the best whole one


@dataclass(frozen=True)
class _Template:
    """One way a place can be filled: a form, its size and offset in pixels, and whether its right half is gone."""

    form: str
    radius: int
    jitter: tuple[int, int]
    cut: bool


@dataclass(frozen=True)
class _Found:
    """A template with the colour that fits best."""

    shape: Shape
    template: _Template


def perceive(frames: Sequence[Image.Image]) -> Seen:
    """What one picture (one frame) or video (several, in order) shows.

    Frames of another size than the world's are scaled to it. Raises `ValueError` for no frame at all.
    """
    if not frames:
        raise ValueError("nothing to look at: give at least one frame")
    images = [frame.convert("RGB").resize((SIZE, SIZE)) for frame in frames]
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    background = pixels[0][_edges()].mean(axis=0)
    quality, sigma = _quality(images[0], pixels[0], background)
    found = _places(pixels[0], background, quality, sigma)
    scene = EMPTY
    for place, one in enumerate(found):
        scene = scene.put(place, one.shape if one else None)
    cut = any(one is not None and one.template.cut for one in found)
    if len(frames) == 1:
        return Seen(scene, quality=quality, cut=cut)
    moved, flow, path = _motion(pixels, background, found, scene, sigma)
    return Seen(moved, quality=quality, cut=cut, flow=flow, path=path)


@cache
def _edges() -> Array:
    """The pixels that no shape at rest reaches: the outermost ring of each place."""
    line = np.zeros(SIZE, dtype=bool)
    line[[0, CELL - 1, CELL, SIZE - 1]] = True
    edges: Array = line[:, None] | line[None, :]
    return edges


def _quality(image: Image.Image, pixels: Array, background: Array) -> tuple[str, float]:
    """clean, noisy or blurred, and the blur's radius in pixels (0 if none)."""
    smooth = np.asarray(image.filter(ImageFilter.MedianFilter(3)), dtype=np.float32)
    if np.median(np.abs(pixels - smooth).max(axis=2)) > NOISY_RESIDUAL:
        return "noisy", 0.0
    shown = np.abs(pixels - background).max(axis=2) > 12
    inked = pixels[shown]
    if not len(inked) or _is_palette(inked).mean() > SHARP_SHARE:
        return "clean", 0.0
    errors = {sigma: _explained(pixels, background, sigma)[0].sum() for sigma in BLUR.values()}
    return "blurred", max(errors, key=lambda sigma: float(errors[sigma]))


def _is_palette(pixels: Array) -> Array:
    """Which pixels have one of the colours but for rounding."""
    exact = np.zeros(len(pixels), dtype=bool)
    for colour in COLOURS:
        exact |= ((pixels - np.array(RGB[colour], dtype=np.float32)) ** 2).sum(axis=1) < 36
    return exact


def _places(pixels: Array, background: Array, quality: str, sigma: float) -> list[_Found | None]:
    """The content of the four places."""
    best, at, whole = _explained(pixels, background, sigma)
    templates = _templates()
    found: list[_Found | None] = []
    for place in range(len(PLACES)):
        if best[place] < LEAST_EXPLAINED:
            found.append(None)
            continue
        chosen, colour = at[place]
        if templates[chosen].cut and best[place] < CUT_GAIN * whole[place][0]:
            chosen, colour = whole[place][1:]
        template = templates[chosen]
        found.append(_Found(Shape(COLOURS[colour], template.form), template))
    return found


def _explained(
    pixels: Array, background: Array, sigma: float
) -> tuple[Array, list[tuple[int, int]], list[tuple[float, int, int]]]:
    """By place: the squared error that the best template and colour explain, which those are, and that of whole forms.

    Drawing coverage `a` in colour `c` over background `b` explains `2 a.(d.(c-b)) - |a|^2 |c-b|^2` of the
    squared distance `d = pixels - b`.
    """
    masks, energies = _masks(sigma)
    ink = np.array([RGB[colour] for colour in COLOURS], dtype=np.float32) - background  # colours x 3
    small = (pixels - background).reshape(SIZE // COARSE, COARSE, SIZE // COARSE, COARSE, 3).mean(axis=(1, 3))
    side = CELL // COARSE
    cells = small.reshape(2, side, 2, side, 3).transpose(0, 2, 1, 3, 4).reshape(len(PLACES), side * side, 3)
    best, at, whole = [0.0] * len(PLACES), [(0, 0)] * len(PLACES), [(0.0, 0, 0)] * len(PLACES)
    wholes = len(masks) // 2 if sigma == 0 else len(masks)
    cost = np.outer(energies, (ink**2).sum(axis=1))
    for place, cell in enumerate(cells):
        if (cell**2).sum() < LEAST_EXPLAINED:  # no drawing can explain more than there is
            continue
        fits = (masks.reshape(-1, BLOCK, side * side) @ (cell @ ink.T)).reshape(cost.shape)
        gain = 2 * fits - cost  # templates x colours
        template, colour = divmod(int(gain.argmax()), len(COLOURS))
        best[place], at[place] = float(gain[template, colour]), (template, colour)
        template, colour = divmod(int(gain[:wholes].argmax()), len(COLOURS))
        whole[place] = float(gain[template, colour]), template, colour
    return np.array(best), at, whole


@cache
def _templates() -> list[_Template]:
    """Every template; the second half is the first half, cut."""
    shifts = list(product(JITTERS, JITTERS))
    return [
        _Template(form, radius, shift, cut)
        for cut in (False, True)
        for form, radius, shift in product(SHAPES, RADII, shifts)
    ]


@cache
def _masks(sigma: float) -> tuple[Array, Array]:
    """The coarse coverage of every template, a row each, and each row's sum of squares. Blurred ones are whole."""
    templates = _templates()
    rows = []
    for one in templates if sigma == 0 else templates[: len(templates) // 2]:
        centre = (CELL / 2 + one.jitter[0], CELL / 2 + one.jitter[1])
        cover = _coverage(one, centre, CELL, sigma)
        rows.append(cover.reshape(CELL // COARSE, COARSE, CELL // COARSE, COARSE).mean(axis=(1, 3)).ravel())
    masks = np.stack(rows)
    return masks, (masks**2).sum(axis=1)


def _coverage(template: _Template, centre: tuple[float, float], size: int, sigma: float) -> Array:
    """How much of each pixel of a `size` x `size` frame a form covers, from 0 to 1, drawn as `draw` draws."""
    x, y = centre
    canvas = Image.new("L", (size * SCALE, size * SCALE), 0)
    pen = ImageDraw.Draw(canvas)
    points = [((x + px) * SCALE, (y + py) * SCALE) for px, py in outline(template.form, template.radius)]
    pen.polygon(points, fill=255)
    if template.cut:
        left = (x + template.radius - 2 * template.radius * CUT_SHARE) * SCALE
        pen.rectangle([left, 0, size * SCALE, size * SCALE], fill=0)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    if sigma:
        small = small.filter(ImageFilter.GaussianBlur(sigma))
    return np.asarray(small, dtype=np.float32) / 255


def _motion(
    pixels: Array, background: Array, found: list[_Found | None], scene: Scene, sigma: float
) -> tuple[Scene, str, tuple[str, ...]]:
    """Which shape of the first frame travels where, and whether it flickers or jumps: the best of all accounts.

    And where it is in each frame.
    """
    times = [TIMES[at] for at in sample_frames(FRAMES, len(pixels))]
    if len(pixels) > FRAMES:
        times = [at / (len(pixels) - 1) for at in range(len(pixels))]
    best: tuple[float, Scene, str, int] = (np.inf, scene, "smooth", 0)
    for start, one in enumerate(found):
        if one is None:
            continue
        resting = _rest(background, found, start, sigma)
        for track, end, direction in _ways(start):
            if found[end] is not None:
                continue
            errors = [
                _frame_errors(pixels[index], resting, one, background, start, end, times[index], sigma)
                for index in range(1, len(pixels))
            ]
            moved = replace(scene.put(start, None), motion=Motion(one.shape, track, direction))
            smooth = sum(error[0] for error in errors)
            best = min(best, (smooth, moved, "smooth", 0), key=lambda account: account[0])
            for index, (on_track, hidden, beside) in enumerate(errors, start=1):
                for flow, error in (("flickers", hidden), ("jumps", beside)):
                    best = min(best, (smooth - on_track + error, moved, flow, index), key=lambda account: account[0])
    _, shown, how, spoiled = best
    return shown, how, shown.motion.path(times, how, spoiled) if shown.motion else ()


def _ways(start: int) -> Iterator[tuple[str, int, str]]:
    """Where a shape can go from a place: the track, the place at its other end, the direction."""
    for track, (first, last) in TRACKS.items():
        forth, back = ("right", "left") if track in ("top", "bottom") else ("down", "up")
        if start == first:
            yield track, last, forth
        elif start == last:
            yield track, first, back


def _middle(place: int) -> tuple[float, float]:
    return (place % 2) * CELL + CELL / 2, (place // 2) * CELL + CELL / 2


def _rest(background: Array, found: list[_Found | None], moving: int, sigma: float) -> Array:
    """A frame with all shapes but the moving one."""
    canvas: Array = np.broadcast_to(background, (SIZE, SIZE, 3))
    for place, one in enumerate(found):
        if one is not None and place != moving:
            canvas = _over(canvas, one, _middle(place), background, sigma)
    return canvas


def _over(canvas: Array, one: _Found, middle: tuple[float, float], background: Array, sigma: float) -> Array:
    dx, dy = one.template.jitter
    cover = _coverage(one.template, (middle[0] + dx, middle[1] + dy), SIZE, sigma)[:, :, None]
    drawn: Array = canvas * (1 - cover) + np.asarray(RGB[one.shape.colour], dtype=np.float32) * cover
    return drawn


def _frame_errors(
    frame: Array, resting: Array, one: _Found, background: Array, start: int, end: int, time: float, sigma: float
) -> tuple[float, float, float]:
    """The squared error of a frame if the moving shape is on its track, hidden, or beside its track."""
    (x0, y0), (x1, y1) = _middle(start), _middle(end)
    x, y = x0 + (x1 - x0) * time, y0 + (y1 - y0) * time
    beside = (x, SIZE - y) if y0 == y1 else (SIZE - x, y)
    drawn = (
        _over(resting, one, (x, y), background, sigma),
        resting,
        _over(resting, one, beside, background, sigma),
    )
    on_track, hidden, off_track = (float(((frame - canvas) ** 2).sum()) for canvas in drawn)
    return on_track, hidden, off_track
