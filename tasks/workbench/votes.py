"""A person's preference as a drop in the nightly's inbox: one pair and its media, to be trained on from the next night.

A drop a vote: whatever is killed meanwhile, a vote is there whole or, without its listing, is turned away by the
nightly with a reason.
"""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from models.pairs.preference import PreferencePair, Preferred
from models.sources.jsonl import LISTING
from tasks.data.inbox.inbox import INBOX
from tasks.store.artifacts import Store

GROUP = "workbench"


LONGEST_VOTER = 64  # characters of a name


def save_vote(
    store: Store, pair: PreferencePair, blob: Callable[[str], bytes], preferred: Preferred, *, voter: str = ""
) -> str:
    """Put a preference into the inbox, and return the drop's name. `blob` gives a medium's bytes by its uri.

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
    row: dict[str, Any] = {
        "id": f"{GROUP}-{mark}",
        "task": str(pair.task),
        "prompt": pair.prompt,
        "preferred": preferred,
        "group": GROUP,
        "source": source,
        "candidates": [{"media": names[one.media.uri]} if one.media else {"text": one.text} for one in pair.candidates],
    }
    if pair.context:
        row["context"] = [names[media.uri] for media in pair.context]
    store.objects.write(f"{folder}/{LISTING}", (json.dumps(row, ensure_ascii=False) + "\n").encode())
    return name
