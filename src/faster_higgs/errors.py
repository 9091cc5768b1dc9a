"""Everything that can go wrong for a user. Knows nothing of how it is shown.

    HiggsError                                                                           exit code
    ├── InputError            what the caller gave: fix the text, the file, the setting          2
    │   ├── TextError           empty, too long, nothing speakable
    │   ├── AudioError          unreadable, silent, too short, too long
    │   ├── VoiceError          a voice that is bad, or taken, or not there
    │   │   └── VoiceNotFound
    │   ├── SettingError        a value out of range, settings that contradict each other
    │   ├── DataError           a corpus, or training data, damaged or of another version
    │   └── CheckpointError     missing, truncated, of the wrong kind or shape
    │       └── CheckpointNotFound
    ├── MissingExtra          an optional package is needed; the message names the extra         2
    ├── OutputError           the result cannot be written: full disk                            1
    │   └── OutputPlaceError  nor ever in that place: no such folder, read-only                  2
    ├── GenerationError       the model answered, but not with speech                            1
    │   └── NoAudio
    └── EngineError           the engine refused or was stopped                                  1
        ├── Aborted
        ├── DeadlinePassed    before anything was ready to be heard
        ├── QueueFull         too many wait already; later there may be room
        └── UpstreamError     the server that speaks in our place failed
            └── UpstreamTimeout

A message is one sentence or two: what happened, what was found, what to do.
"""

from __future__ import annotations

import errno


class HiggsError(Exception):
    """The root; catching it catches everything this package raises on purpose."""

    exit_code = 1


class InputError(HiggsError):
    """Something the caller gave cannot be used."""

    exit_code = 2


class TextError(InputError):
    """The text is empty, too long, or holds nothing that can be spoken."""


class AudioError(InputError):
    """An audio file cannot be used."""


class VoiceError(InputError):
    """A voice cannot be used or saved."""


class VoiceNotFound(VoiceError):
    """No voice of that name."""


class SettingError(InputError):
    """A setting is out of range, unknown, or contradicts another."""


class DataError(InputError):
    """A corpus or a prepared data set cannot be used."""


class CheckpointError(InputError):
    """A checkpoint is truncated, of the wrong kind, or does not fit its config."""


class CheckpointNotFound(CheckpointError):
    """No checkpoint in that place."""


class MissingExtra(HiggsError):
    """An optional dependency is not installed."""

    exit_code = 2


class OutputError(HiggsError):
    """The result could not be written."""


class OutputPlaceError(OutputError):
    """The result cannot be written in that place: no such folder, a folder itself, read-only."""

    exit_code = 2


def unwritten(message: str, error: OSError) -> OutputError:
    """The error for something that could not be written, by the system's reason."""
    return (OutputPlaceError if error.errno in _PLACE else OutputError)(message)


_PLACE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)


class GenerationError(HiggsError):
    """The model ran but gave no usable speech."""


class NoAudio(GenerationError):
    """The model answered without a single frame of audio."""


class EngineError(HiggsError):
    """The engine cannot serve the request."""


class Aborted(EngineError):
    """The request was aborted before it finished."""


class DeadlinePassed(EngineError):
    """Nothing was ready by the time it was wanted."""


class QueueFull(EngineError):
    """Too many requests are waiting; the same one may be taken later."""


class UpstreamError(EngineError):
    """The server that speaks in our place cannot be reached, or answered something else."""


class UpstreamTimeout(UpstreamError):
    """It was silent for too long."""
