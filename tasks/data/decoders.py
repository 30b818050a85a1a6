"""The processes that decode the media that people bring, with the limits of the profile."""

from configs.schema import Prepare, Serve, Settings
from models.media.decoding import Decoders


def prepare_decoders(settings: Settings) -> Decoders:
    """Those of imports, of pairs of one's own and of the inbox."""
    return _within(settings.prepare)


def serving_decoders(settings: Settings) -> Decoders:
    """Those of the service."""
    return _within(settings.serve)


def _within(limits: Prepare | Serve) -> Decoders:
    return Decoders(limits.decoding_processes, limits.decoding_timeout_s, limits.decoding_memory_mib)
