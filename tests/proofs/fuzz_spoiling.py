"""Good input changed at random: bytes and JSON values."""

import json
from random import Random
from typing import Any


def spoiled(rng: Random, data: bytes) -> bytes:
    """Bytes changed, cut, doubled or filled in a few places; now and then left as they are."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
        if not changed:
            break
        at = rng.randrange(min(len(changed), rng.choice((64, 512, len(changed)))))
        length = rng.choice((1, 1, 2, 4, 8, 64))
        how = rng.randrange(5)
        if how == 0:
            changed[at : at + length] = rng.randbytes(length)
        elif how == 1:
            del changed[at : at + length]
        elif how == 2:
            changed[at:at] = changed[at : at + length]
        elif how == 3:
            changed[at : at + length] = rng.choice((b"\xff", b"\x00", b"\x7f")) * length
        else:
            del changed[at:]
    return bytes(changed)


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ",
    "tie", "1", "\ud800", "\x00", "a" * 70_000, "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "a\\b", "con",
    "http://localhost/a.png", "data:image/png;base64,", "data:,", "<think>", "<|im_end|>", [], {}, [[]], [{}],
    {"": None}, ["a", "a"],
)  # fmt: skip
NESTED = ("@3@", "@70@", "@2000@", "@100000@")  # lists in lists, which `written` puts there


def bent(rng: Random, value: Any) -> Any:
    """A JSON value with one of its parts replaced, left out, doubled or nested deeper."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(sorted(value))
        how = rng.random()
        rest = {key: one for key, one in value.items() if key != name}
        if how < 0.15:
            return rest
        if how < 0.25:
            return {**value, rng.choice(("id", "x", "media", "\ud800", "")): rng.choice(ODD)}
        return {**rest, name: bent(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        how = rng.random()
        if how < 0.15:
            return [*value[:at], *value[at + 1 :]]
        if how < 0.3:
            return [*value, *value[at:]]
        return [*value[:at], bent(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and rng.random() < 0.5:
        return spoiled(rng, value.encode(errors="surrogatepass")).decode(errors="replace")
    if rng.random() < 0.05:
        return rng.choice(NESTED)
    return rng.choice(ODD)


def written(value: Any) -> str:
    """The value as JSON, with half characters and numbers that JSON has not, as Python writes them."""
    text = json.dumps(value)
    for one in NESTED:
        depth = int(one.strip("@"))
        text = text.replace(f'"{one}"', "[" * depth + "]" * depth)
    return text
