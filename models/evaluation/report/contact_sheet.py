"""A page that shows some pairs of a data set: prompt, media, candidates and label. One HTML file, no script.

The data set's texts are escaped by the template, and the page's content security policy allows no request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.errors import MediaError
from models.evaluation.report.environment import page_environment
from models.media.frames import data_url, decode, shrink
from models.pairs.preference import Media, PreferencePair

TEMPLATE = "contact_sheet.html.j2"
MAX_PIXELS = 256 * 256  # of a picture on the sheet


@dataclass(frozen=True)
class SheetPair:
    """One pair, and where its data set has it."""

    pair: PreferencePair
    where: str


def contact_sheet(title: str, shown: Sequence[SheetPair], media: Mapping[str, bytes], *, frames: int) -> str:
    """The page; of a video at most so many `frames`."""
    environment = page_environment()

    def pictures(medium: Media) -> list[str]:
        try:
            decoded = decode(media[medium.uri], medium.uri, max_frames=frames)
        except (KeyError, MediaError):
            return []
        return [data_url(shrink(frame, MAX_PIXELS)) for frame in decoded]

    return environment.get_template(TEMPLATE).render(title=title, shown=shown, pictures=pictures)
