"""Stand-ins for your tests: a Higgs that speaks tones without a model, and a tiny checkpoint.

Knows nothing of test frameworks.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tokenizers
import torch
from torch import Tensor, nn

from faster_higgs.audio.files import read
from faster_higgs.audio.levels import Samples
from faster_higgs.audio.reference import LONGEST_CLIP
from faster_higgs.audio.save import save
from faster_higgs.checkpoint.adapted import Choice
from faster_higgs.checkpoint.choice import Plan
from faster_higgs.checkpoint.codec_files import save_codec
from faster_higgs.checkpoint.save import save_model
from faster_higgs.codec.codec import Codec
from faster_higgs.config import CodecConfig, EngineConfig, HubertShape, Layout, ModelConfig
from faster_higgs.delay import wrap
from faster_higgs.engine.engine import Stats
from faster_higgs.engine.request import Finish, FrameEvent, Result
from faster_higgs.engine.scheduler import INTERACTIVE
from faster_higgs.engine.worker import OnStop
from faster_higgs.model.dual_ffn import DualFFN
from faster_higgs.prompt import tokens
from faster_higgs.prompt.template import Prompt
from faster_higgs.prompt.tokens import TextTokenizer
from faster_higgs.prompt.voices import VoiceStore
from faster_higgs.quant.quantization import Quantization
from faster_higgs.sampling import Sampling
from faster_higgs.speech import Higgs, fingerprint
from faster_higgs.spoken import Manners

RATE = 24_000
HOP = 960  # samples of a frame: 40 ms
CODEBOOKS = 8
FRAMES_PER_CHARACTER = 2
LOWEST = 7  # a code c sounds at 25 * (LOWEST + c) Hz
VOICES = {"alice": "A clip of Alice for tests.", "bob": "A clip of Bob for tests."}
SPECIALS = [*tokens.REQUIRED, *tokens.INSTRUCTION_MARKS, *tokens.SOUND_TAGS]


def byte_tokenizer() -> tokenizers.Tokenizer:
    """One token for each byte, and the special tokens."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    model = tokenizers.models.BPE(vocab=vocabulary, merges=[], byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(model)
    steps = [tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
    tokenizer.decoder = tokenizers.decoders.Sequence(steps)
    special = [tokenizers.AddedToken(name, normalized=False, special=True) for name in SPECIALS]
    tokenizer.add_special_tokens(special)
    return tokenizer


def tiny_config(tokenizer: tokenizers.Tokenizer | None = None) -> ModelConfig:
    """A language model of a few thousand weights, with the published number of codebooks."""
    known = tokenizer or byte_tokenizer()

    def special(name: str) -> int:
        return int(known.token_to_id(name) or 0)

    return ModelConfig(
        vocab_size=known.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        rope_scaling=None,
        num_codebooks=CODEBOOKS,
        codebook_size=66,
        audio_stream_bos_id=64,
        audio_stream_eos_id=65,
        audio_out_bos_token_id=special(tokens.AUDIO_OUT_BOS),
        audio_out_token_id=special(tokens.AUDIO_OUT),
        audio_in_token_id=special(tokens.AUDIO_IN),
        audio_eos_token_id=special(tokens.AUDIO_EOS),
        pad_token_id=special(tokens.END_OF_TEXT),
        max_position_embeddings=4096,
    )


TINY_CODEC = CodecConfig(
    encoder_hidden_size=2,
    decoder_hidden_size=32,
    hidden_size=8,
    codebook_size=64,
    codebook_dim=4,
    num_codebooks=CODEBOOKS,
    hubert=HubertShape(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    ),
    acoustic_pad=480,
)


def tiny_checkpoint(folder: Path | str, seed: int = 0, layout: Layout = "transformers") -> Path:
    """A whole checkpoint with random weights: model, codec/, tokenizer.json, two voices.

    It loads in a moment and speaks noise.
    """
    folder = Path(folder)
    tokenizer = byte_tokenizer()
    config = tiny_config(tokenizer)
    model = DualFFN(config)
    model.initialize(torch.Generator().manual_seed(seed), std=0.3)
    codec = _tiny_codec(seed)
    save_model(model, config, folder, layout)
    save_codec(codec, folder / "codec", layout)
    tokenizer.save(str(folder / "tokenizer.json"))
    codes = torch.Generator().manual_seed(seed)
    store = VoiceStore(
        [folder / "voices"],
        lambda _: torch.randint(config.num_codes, (CODEBOOKS, 30), generator=codes),
        fingerprint(codec),
    )
    _add_voices(store)
    return folder


@torch.no_grad()
def _tiny_codec(seed: int) -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = Codec(TINY_CODEC).eval()
        codes = torch.randint(TINY_CODEC.codebook_size, (CODEBOOKS, 20))
    codec.acoustic_decoder.last.weight.div_(5 * codec.decode(codes).std())  # as loud as speech
    return codec


def _add_voices(store: VoiceStore) -> None:
    with TemporaryDirectory() as folder:
        for name, transcript in VOICES.items():
            clip = Path(folder) / f"{name}.wav"
            save(clip, tones(spoken(transcript)))
            store.add(name, clip, transcript)


def spoken(text: str) -> Tensor:
    """The codes [K, F] in which `FakeHiggs` says a text: blanks are silent."""
    sounds = [0 if c.isspace() else 1 + ord(c) % 64 for c in text]
    row = torch.tensor(sounds, dtype=torch.long).repeat_interleave(FRAMES_PER_CHARACTER)
    return row.expand(CODEBOOKS, -1).contiguous()


def tones(codes: Tensor) -> Samples:
    """The sound of codes [K, F]: each frame a tone, its pitch the first row's code, 0 silent."""
    cycles = codes[0].numpy()[:, None] + LOWEST  # [F, 1]
    time = np.arange(HOP)[None] / HOP
    sound = 0.3 * np.sin(2 * np.pi * cycles * time) * (cycles > LOWEST)
    return np.asarray(sound.reshape(-1), np.float32)


def heard(samples: Samples) -> Tensor:
    """The codes [K, F] of a sound: heard(tones(codes)) gives the codes of `spoken` text again."""
    frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    strength = np.abs(np.fft.rfft(frames, axis=1))[:, LOWEST : LOWEST + 65]
    row = np.where(strength.max(1, initial=0) > 1, strength.argmax(1), 0)
    return torch.from_numpy(row).expand(CODEBOOKS, -1).contiguous()


class FakeCodec(Codec):
    """The codec of `FakeHiggs`: a frame is a tone."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config = replace(TINY_CODEC, codebook_size=1024)

    @property
    def context(self) -> int:
        """No frame depends on another."""
        return 0

    @property
    def device(self) -> torch.device:
        """Where the weights would be."""
        return torch.device("cpu")

    def encode(self, samples: Tensor) -> Tensor:
        """Pitches."""
        return heard(samples.numpy())

    def decode(self, codes: Tensor) -> Tensor:
        """Tones."""
        if codes.dim() == 2:
            return torch.from_numpy(tones(codes))
        return torch.stack([torch.from_numpy(tones(row)) for row in codes])


class FakeHiggs(Higgs):
    """Everything a `Higgs` does, but its model is a tone for each character: instant and exact.

    Text, prompts, voices, streaming and formats are the real ones; `max_new_tokens` cuts.
    """

    def __init__(self, folder: Path | str | None = None, voices: Sequence[str | Path] = ()) -> None:
        """`folder` may hold voices/; without one there are the two of `VOICES`."""
        self._made = None if folder else TemporaryDirectory(prefix="higgs-fake-")
        self.folder = Path(folder or self._made.name)  # type: ignore[union-attr]
        self.config = replace(
            tiny_config(), codebook_size=1026, audio_stream_bos_id=1024, audio_stream_eos_id=1025
        )
        self.codec = FakeCodec()
        self.rate = RATE
        self.tokenizer = TextTokenizer(byte_tokenizer())
        self.manners = Manners.load(self.folder)
        folders = [*map(Path, voices), self.folder / "voices"]
        self.voices = VoiceStore(folders, self.encode, "fake")
        if self._made:
            _add_voices(VoiceStore(folders[-1:], self.encode, "fake"))

    @classmethod
    def load(  # noqa: PLR0913  as that of Higgs
        cls,
        model: str | Path | None = None,
        *,
        codec: str | Path | None = None,
        revision: str | None = None,
        device: str | Plan = "auto",
        voices: Sequence[str | Path] = (),
        text_head: bool = False,
        quantization: Quantization | None = None,
        engine: EngineConfig | None = None,
        adapters: Sequence[Choice] = (),
    ) -> FakeHiggs:
        """As `Higgs.load`, but nothing is loaded; of a folder only its voices are used."""
        return cls(model if model and Path(model).is_dir() else None, voices)

    def encode(self, clip: Path | Samples) -> Tensor:
        """Codes [K, F] of a sound file, or of samples [S]. Raises AudioError."""
        return heard(read(clip, max_seconds=LONGEST_CLIP) if isinstance(clip, Path) else clip)

    def frames(
        self,
        prompt: Prompt,
        sampling: Sampling,
        stop_ids: Sequence[int] = (),
        *,
        priority: int = INTERACTIVE,
        deadline: float | None = None,
        on_stop: OnStop | None = None,
    ) -> Generator[FrameEvent]:
        """Two frames for each character of the prompt's last user message."""
        codes = spoken(self._asked(prompt))
        most = max(0, sampling.max_new_tokens - CODEBOOKS - 1)
        finish = Finish.LENGTH if codes.shape[1] > most else Finish.STOP
        codes = codes[:, :most]
        columns = wrap(codes, self.config.audio_stream_bos_id, self.config.audio_stream_eos_id)
        result = Result(finish, sampling.seed or 0, len(prompt), (), (columns,))
        for first in range(0, codes.shape[1], 10):
            yield FrameEvent(1, codes[:, first : first + 10])
        yield FrameEvent(1, codes[:, :0], result)

    def stats(self) -> Stats:
        """There is no engine."""
        return Stats()

    def close(self) -> None:
        """Forget the voices that were made."""
        if self._made:
            self._made.cleanup()

    def _asked(self, prompt: Prompt) -> str:
        ids = list(prompt.ids)
        end = len(ids) - 1 - ids[::-1].index(self.tokenizer.special(tokens.EOT))
        begin = end - ids[:end][::-1].index(self.tokenizer.special(tokens.END_HEADER))
        return self.tokenizer.decode(ids[begin:end]).strip()
