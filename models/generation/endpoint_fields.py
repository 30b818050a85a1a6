"""Which fields of a chat completion an endpoint takes, learned from its first refusal.

Models differ: OpenAI's newer ones know `max_completion_tokens` in place of `max_tokens`, and no temperature but their
own; others know no `seed` or `chat_template_kwargs`. The refusal names the field, in `param` or in its text
(https://platform.openai.com/docs/guides/error-codes), and the request goes again without it. What then is answered is
known from there on; a field whose absence did not help is not left out again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

LIMIT, OTHER_LIMIT = "max_tokens", "max_completion_tokens"
EXTRA = "extra_body"  # where the client takes fields that it does not know
NEEDED = frozenset({"model", "messages", "n", LIMIT, OTHER_LIMIT, EXTRA})  # `n` is its caller's to do without


@dataclass(frozen=True)
class Refusal:
    """The server's own text and the field it names beside it. It may hold the key, and is not for showing."""

    text: str = field(default="", repr=False)
    param: str = field(default="", repr=False)

    def place_of(self, name: str) -> int | None:
        """How far into the text a field is named; -1 for the field that is named beside it, None if it is not."""
        if self.param == name:
            return -1
        found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.text)
        return found.start() if found else None


@dataclass(frozen=True)
class Fields:
    """What an endpoint takes: the name of the token limit, and the fields that it refuses, each with its reason."""

    limit: str = LIMIT
    refused: Mapping[str, str] = field(default_factory=dict)

    def of(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request as this endpoint takes it."""
        extra = {name: value for name, value in body.get(EXTRA, {}).items() if name not in self.refused}
        kept = {
            self.limit if name == LIMIT else name: value
            for name, value in body.items()
            if name != EXTRA and name not in self.refused
        }
        return kept | ({EXTRA: extra} if extra else {})

    def after(
        self, sent: Mapping[str, Any], refusal: Refusal, reason: str, hopeless: frozenset[str]
    ) -> "Fields | None":
        """What to try once `sent` was refused, one field at a time; None if no field that can change is named.

        `reason` is what may be shown of the refusal, `hopeless` the fields whose absence did not help before.
        """
        if LIMIT in sent and LIMIT not in hopeless and refusal.place_of(OTHER_LIMIT) is not None:
            return replace(self, limit=OTHER_LIMIT)
        places = {name: refusal.place_of(name) for name in optional(sent) if name not in hopeless}
        named = sorted((place, name) for name, place in places.items() if place is not None)
        return replace(self, refused={**self.refused, named[0][1]: reason}) if named else None

    def beyond(self, other: "Fields") -> frozenset[str]:
        """What it leaves out or renames and `other` does not."""
        return frozenset(self.refused.keys() - other.refused.keys()) | ({LIMIT} if self.limit != other.limit else set())

    def with_(self, other: "Fields") -> "Fields":
        """What both know."""
        limit = OTHER_LIMIT if OTHER_LIMIT in (self.limit, other.limit) else LIMIT
        return Fields(limit, {**self.refused, **other.refused})


class Learned:
    """What is known of one endpoint so far; shared by all who ask it."""

    def __init__(self) -> None:
        self.fields = Fields()
        self.hopeless: frozenset[str] = frozenset()
        self.sent: frozenset[str] = frozenset()  # the fields of all requests that were answered

    def answered(self, fields: Fields, sent: Mapping[str, Any]) -> None:
        """A request was answered in this form."""
        self.fields = self.fields.with_(fields)
        self.sent |= optional(sent) | (sent.keys() & {LIMIT, OTHER_LIMIT})

    def failed(self, fields: Fields) -> None:
        """A request was refused in this form, too."""
        self.hopeless |= fields.beyond(self.fields)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON: the names of the fields that were `sent`, and of those `refused` the reasons."""
        return {"sent": sorted(self.sent), "refused": dict(sorted(self.fields.refused.items()))}


def optional(body: Mapping[str, Any]) -> frozenset[str]:
    """The fields of a request that it can go without."""
    return frozenset({*body, *body.get(EXTRA, {})} - NEEDED)


def describe_fields(learned: Mapping[str, Any] | None) -> str:
    """`Learned.as_dict` for people; a dash where nothing is known.

    >>> describe_fields({"sent": ["max_completion_tokens", "seed"], "refused": {"temperature": "400 unsupported"}})
    'sent max_completion_tokens, seed; refused temperature (400 unsupported)'
    """
    if not learned or not learned["sent"]:
        return "–"
    refused = ", ".join(f"{name} ({reason})" for name, reason in learned["refused"].items())
    return f"sent {', '.join(learned['sent'])}" + (f"; refused {refused}" if refused else "")
