"""The same step on Ray makes the same data."""

from __future__ import annotations

import pickle
import sys
import warnings
from importlib.util import find_spec

import pytest

from faster_higgs.data import encode, pipeline
from faster_higgs.data.cache import SHARDS
from faster_higgs.data.crews import OnRay, called
from faster_higgs.errors import MissingExtra
from tests.data.recordings import prepared, recordings

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture
def cluster(monkeypatch):
    import ray

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield OnRay("local")
    ray.shutdown()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_makes_what_one_process_makes(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(pipeline, "PART", 3)
    monkeypatch.setattr(encode, "SHARD_SECONDS", 2.5)
    prepared(tmp_path / "a", recordings(8))
    prepared(tmp_path / "b", recordings(8), crew=cluster)
    one, other = (sorted((tmp_path / name / SHARDS).iterdir()) for name in "ab")
    assert [path.name for path in one] == [path.name for path in other] and len(one) > 1
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_ray_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"faster-higgs\[ray\]"):
        list(OnRay("local").map(str, [1]))


def test_a_task_goes_there_and_its_result_comes_back():
    row = {"place": [7], "call": [pickle.dumps((str.upper, "spoken"))]}
    back = called(row)
    assert back["place"] == [7] and pickle.loads(back["result"][0]) == "SPOKEN"
