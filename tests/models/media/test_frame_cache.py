"""Decoded frames stay within a budget of bytes, whatever their number."""

from PIL import Image

from models.media.frame_cache import FrameCache, bytes_of

ONE = 4 * 32 * 32


def cache_of(budget: int) -> tuple[FrameCache, list[str]]:
    decoded: list[str] = []

    def decode(uri: str) -> list[Image.Image]:
        """`3-a` is a medium of three frames."""
        decoded.append(uri)
        return [Image.new("RGB", (32, 32)) for _ in range(int(uri.split("-")[0]))]

    return FrameCache(decode, budget), decoded


def test_the_budget_counts_bytes_and_what_was_used_longest_ago_goes_first() -> None:
    cache, decoded = cache_of(4 * ONE)
    for uri in ("2-a", "1-b", "1-c", "2-a", "1-d"):
        assert len(cache(uri)) == int(uri[0])
    assert cache.bytes == 4 * ONE and decoded == ["2-a", "1-b", "1-c", "1-d"]
    cache("2-a"), cache("1-c"), cache("1-b")
    assert decoded[4:] == ["1-b"], "b was used longest ago when d came"


def test_a_medium_beyond_the_budget_drives_out_nothing() -> None:
    cache, decoded = cache_of(2 * ONE)
    for uri in ("1-a", "3-b", "3-b", "1-a"):
        cache(uri)
    assert decoded == ["1-a", "3-b", "3-b"] and cache.bytes == ONE


def test_pillow_keeps_four_bytes_a_pixel() -> None:
    assert bytes_of([Image.new("RGB", (10, 20))]) == 800
