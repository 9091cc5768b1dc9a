"""What every test may rely on: no network, and no settings or models of whoever runs it."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fresh import Fresh
from tests.parity.place import vectors

# Before any test module is imported: libraries read these once, at import.
_HOME = tempfile.mkdtemp(prefix="higgs-tests-")
for name in [name for name in os.environ if name.startswith("HIGGS_")]:
    if name != "HIGGS_PARITY_DIR":
        del os.environ[name]
os.environ.update(
    HF_HOME=os.path.join(_HOME, "huggingface"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    XDG_CACHE_HOME=os.path.join(_HOME, "cache"),
    XDG_CONFIG_HOME=os.path.join(_HOME, "config"),
    XDG_DATA_HOME=os.path.join(_HOME, "data"),
)
# Programs that a test starts see the package, installed or not.
_SOURCE = str(Path(__file__).parents[1] / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SOURCE, os.environ.get("PYTHONPATH")]))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models here are tiny: more threads are slower


def pytest_configure() -> None:
    """A set of vectors that is named is there, and is found from every folder."""
    if named := os.environ.get("HIGGS_PARITY_DIR"):
        # run_tests.sh goes to the repository; the name counts from where the caller stands.
        stands = [Path.cwd(), Path(os.environ.get("OLDPWD") or Path.cwd())]
        os.environ["HIGGS_PARITY_DIR"] = str(vectors(named, stands))


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes too")
    parser.addoption("--network", action="store_true", help="run the tests that need the network")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark in ("slow", "network"):
        if not config.getoption(f"--{mark}"):
            _skip(items, mark, f"runs with --{mark}")
    if any(item.get_closest_marker("gpu") for item in items) and not _has_gpu():
        _skip(items, "gpu", "needs an accelerator")


def pytest_collection_finish() -> None:
    """What is imported by now stays; the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def _skip(items: list[pytest.Item], mark: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=reason))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def fresh() -> Iterator[Fresh]:
    """Runs programs in processes of their own, without the seconds that imports take."""
    with closing(Fresh()) as found:
        yield found


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HIGGS_ setting that an earlier test forgot."""
    for name in [name for name in os.environ if name.startswith("HIGGS_")]:
        if name != "HIGGS_PARITY_DIR":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections leave this machine only in tests marked `network`."""
    if request.node.get_closest_marker("network"):
        yield
        return
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
    resolve = socket.getaddrinfo

    def local_only(host, *rest, **more):  # type: ignore[no-untyped-def]
        _refuse_outside(host)
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    yield


def _guarded(connect):  # type: ignore[no-untyped-def]
    def guarded(self, address):  # type: ignore[no-untyped-def]
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_outside(address[0])
        return connect(self, address)

    return guarded


def _refuse_outside(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host or "localhost"
    if name not in ("localhost", "::1", "0.0.0.0", "::") and not name.startswith("127."):
        raise ConnectionError(f"A test tried to reach {name}; mark it `network` if it must.")
