"""What a checkpoint demands of its training: the codec, the wording and the pattern it came with.

Knows nothing of examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faster_higgs.checkpoint.codec_files import load_codec
from faster_higgs.checkpoint.files import find_codec
from faster_higgs.checkpoint.load import read_config
from faster_higgs.config import ModelConfig
from faster_higgs.data.cache import Cache
from faster_higgs.data.wording import Wording
from faster_higgs.errors import DataError, SettingError
from faster_higgs.speech import fingerprint
from faster_higgs.train.config import MixtureSettings


@dataclass(frozen=True)
class Demands:
    """A checkpoint's config, how it reads text, and the fingerprint of its codec."""

    config: ModelConfig
    wording: Wording
    codec: str

    @classmethod
    def load(cls, folder: Path, codec: Path | None = None) -> Demands:
        """Of the checkpoint in `folder`. Raises CheckpointError, CheckpointNotFound."""
        config = ModelConfig.from_json(read_config(folder))
        sound = load_codec(codec or find_codec(folder), encoder=False)
        return cls(config, Wording.load(folder, config), fingerprint(sound))

    def refuse_other_data(self, cache: Cache) -> None:
        """Raises DataError for data that were made for another model."""
        codec, text = cache.about["codec"], cache.about["text"]
        for name, has, wants in (
            ("codec", codec["fingerprint"], self.codec),
            ("number of codebooks", codec["num_codebooks"], self.config.num_codebooks),
            ("codebook size", codec["codebook_size"], self.config.num_codes),
            ("wording", text["fingerprint"], self.wording.fingerprint),
        ):
            if has != wants:
                raise DataError(
                    f"The {name} of the data in '{cache.folder}' is {has!r} and that of the model "
                    f"is {wants!r}; give `higgs prepare` this model, and train on what it makes."
                )

    def refuse_other_rules(self, settings: MixtureSettings) -> None:
        """Raises SettingError for a pattern that inference would not speak."""
        _same("use_delay_pattern", settings.use_delay_pattern, self.config.use_delay_pattern)


def _same(name: str, wanted: Any, has: Any) -> None:
    if wanted is not None and wanted != has:
        raise SettingError(
            f"The training asks for {name} = {wanted!r} and the checkpoint has {has!r}; leave it "
            "out: a model that is trained in one pattern and spoken in another forgets to speak."
        )
