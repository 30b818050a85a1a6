"""A person's preference as a submission in the inbox: one pair and its media, to be trained on from the next night.

One submission per vote: whatever is killed meanwhile, a vote is there whole or, without its listing, is rejected by the
nightly with a reason.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from models.pairs.preference import PreferencePair, Preferred
from models.sources.pair_format import LISTING, write_pair
from tasks.data.inbox.records import INBOX
from tasks.store.artifacts import Store

GROUP = "workbench"
LONGEST_VOTER = 64  # characters of a name


def save_vote(
    store: Store, pair: PreferencePair, blob: Callable[[str], bytes], preferred: Preferred, *, voter: str = ""
) -> str:
    """Put a preference into the inbox, and return the submission's name. `blob` gives a medium's bytes by its uri.

    The pair's source is the workbench and the voter, if there is a name: whose votes have one share of the training
    pairs (models/sources/shares.py). Raises `StoreError`.
    """
    source = GROUP + ("/" + " ".join(voter.split())[:LONGEST_VOTER] if voter.strip() else "")
    mark = uuid.uuid4().hex[:12]
    name = f"{GROUP}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{mark}"
    folder = f"{INBOX}/{name}"
    names = {media.uri: media.sha256 for media in pair.media()}  # what a file is, is read from its bytes
    for uri, file in names.items():
        store.objects.write(f"{folder}/{file}", blob(uri))
    changes = {"id": f"{GROUP}-{mark}", "preferred": preferred, "group": GROUP, "source": source}
    line = write_pair(pair.model_copy(update=changes), lambda media: names[media.uri])
    store.objects.write(f"{folder}/{LISTING}", line.encode())
    return name
