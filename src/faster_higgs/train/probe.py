"""Two real steps in a fresh process, to hold an estimate of memory against what they took.

`probe` starts the process; in it, `main` reads the job from standard input. The model has random
weights. Knows nothing of formulas.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from faster_higgs.config import ModelConfig, RopeScaling
from faster_higgs.errors import HiggsError, SettingError
from faster_higgs.train.job import Job

STEPS = 2  # the optimiser remembers nothing before the end of the first
DOCUMENT = 256  # positions of a conversation
TEXT_IDS = 50  # of the ids that are read
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, SMALL = -1, -3, 65_536  # for glibc's malloc


@dataclass(frozen=True)
class Measured:
    """Bytes."""

    parts: Mapping[str, int]
    peak: int
    seconds: float  # of the last step


def probe(config: ModelConfig, job: Job, device: str, threads: int | None = None) -> Measured:
    """What two steps took. Raises SettingError for what cannot be tried, HiggsError if it fails."""
    if job.base not in ("bf16", "fp32") or job.gpus > 1:
        raise SettingError(
            "--probe tries weights of bf16 or fp32 on one device; leave out what asks for others."
        )
    asked = {"config": asdict(config), "job": asdict(job), "device": device, "threads": threads}
    command = [sys.executable, "-m", "faster_higgs.train.probe"]
    done = subprocess.run(
        command,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it was stopped, as where memory ends"])[-1]
        raise HiggsError(f"The two steps on {device} did not work: {said}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Do what standard input asks for, and write what was measured."""
    asked = json.loads(sys.stdin.read())
    rope = asked["config"].pop("rope_scaling")
    config = ModelConfig(**asked["config"], rope_scaling=RopeScaling(**rope) if rope else None)
    import torch

    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    _give_back_at_once()
    found = measure(config, Job(**asked["job"]), asked["device"])
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


def _give_back_at_once() -> None:
    """What is freed goes back to the system, else the high-water mark tells of holes, too."""
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        if choose is not None:
            choose(name, SMALL)


def measure(config: ModelConfig, job: Job, device: str) -> Measured:
    """Here and now; only a fresh process tells the truth about main memory."""
    import time

    _steps(_small(config), replace(job, positions=64), device)  # libraries are read, and code made
    before = _level(device)
    task = _task(config, job, device)
    for step in range(STEPS):
        began = time.perf_counter()
        task.step(step)
    seconds = time.perf_counter() - began
    peak = _high_water(device) - before
    return Measured({**_held(task), "activations": _saved(task)}, peak, seconds)


def _small(config: ModelConfig) -> ModelConfig:
    return replace(config, num_hidden_layers=1, vocab_size=TEXT_IDS * 2)


def _steps(config: ModelConfig, job: Job, device: str) -> None:
    task = _task(config, job, device)
    for step in range(STEPS):
        task.step(step)


def _task(config: ModelConfig, job: Job, device: str) -> Any:
    """The training loop on random codes."""
    from faster_higgs.train.config import LanguageSettings, OptimizerSettings
    from faster_higgs.train.loop import LanguageTask
    from faster_higgs.train.optimizers import optimizer

    settings = LanguageSettings(
        budget=job.positions,
        accumulate=job.accumulate,
        autocast=job.base == "fp32" and job.autocast,
        checkpointing=job.checkpointing,
        optimizer=OptimizerSettings(kind=job.optimizer),
    )
    made = model(config, job, device)
    task: Any = LanguageTask(made, Noise(config, job), settings)
    task.optimizer = optimizer(made, settings.optimizer)
    return task


def model(config: ModelConfig, job: Job, device: str) -> Any:
    """Random weights, of which those learn that the job names."""
    import torch

    from faster_higgs.model.dual_ffn import DualFFN
    from faster_higgs.train.lora import put
    from faster_higgs.train.modes import part_of
    from faster_higgs.train.tune_config import AdapterSettings

    with torch.device(device):
        made = DualFFN(config)
    made.initialize(torch.Generator(device).manual_seed(0))
    made.to(torch.float32 if job.base == "fp32" else torch.bfloat16)
    if job.adapters:
        wide: Any = "float32" if job.low == 4 else "bfloat16"
        put(made, AdapterSettings(job.adapters, job.whole, job.rank, dtype=wide))
    else:
        for name, weight in made.named_parameters():
            weight.requires_grad_(part_of(name) in job.whole)
    return made


class Noise:
    """Conversations of random codes that fill a batch of the job's positions."""

    def __init__(self, config: ModelConfig, job: Job) -> None:
        self.config, self.audio = config, job.audio
        documents = max(1, job.positions // DOCUMENT)
        self.lengths = [job.positions // documents] * documents
        self.lengths[0] += job.positions - sum(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def example(self, index: int, epoch: int) -> Any:
        """Text, then sound; all of the sound is learnt."""
        import torch

        from faster_higgs.train.sample import IGNORE, Example

        length, config = self.lengths[index], self.config
        columns = min(length - 1, round(self.audio * length))
        codes = torch.randint(config.num_codes, (columns, config.num_codebooks))
        is_audio = torch.arange(length) >= length - columns
        nothing = torch.full((length,), IGNORE)
        ids = torch.randint(TEXT_IDS, (length,))
        return Example(ids, codes, is_audio, nothing, codes.clone())


def _held(task: Any) -> dict[str, int]:
    """Bytes of what is there after a step."""
    weights = list(task.model.parameters())
    moments = [
        value.nbytes
        for state in task.optimizer.state.values()
        for value in state.values()
        if hasattr(value, "nbytes")
    ]
    return {
        "weights": sum(weight.nbytes for weight in weights),
        "optimiser": sum(moments),
        "gradients": sum(weight.grad.nbytes for weight in weights if weight.grad is not None),
    }


def _saved(task: Any) -> int:
    """Bytes that autograd keeps of a forward pass, weights left out."""
    import torch

    batch = task.packer.next().to(task.device)
    known = {weight.untyped_storage().data_ptr() for weight in task.model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept.setdefault(storage.data_ptr(), storage)
        return tensor

    autocast = torch.autocast(task.device.type, torch.bfloat16, enabled=task.settings.autocast)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        hidden = task.model.train_forward(
            batch.ids,
            batch.columns,
            batch.is_audio,
            batch.segment,
            batch.positions,
            checkpointing=task.settings.checkpointing,
        )
    del hidden
    return sum(storage.nbytes() for storage in kept.values())


def _level(device: str) -> int:
    """Bytes in use now; on a card the high-water mark begins anew."""
    import gc

    import torch

    from faster_higgs.train.figures import resident

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return resident("VmRSS")


def _high_water(device: str) -> int:
    """The most bytes that were in use."""
    import torch

    from faster_higgs.train.figures import resident

    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return resident()


if __name__ == "__main__":
    main()
