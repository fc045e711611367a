"""Requests are data: JSON keeps them, short names stand for kinds, and a wrong entry is one line with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sfumato.config import load
from sfumato.errors import ConfigError, DataError, SfumatoError
from sfumato.evaluation.evaluate import compare
from sfumato.evaluation.request import SHORT, Evaluation, Request, metric, read_evaluation
from sfumato.features.lite0 import Lite0
from sfumato.metrics.kernel import Kernel
from sfumato.metrics.ssim import SSIM

from . import pixels


def small(**settings: Any) -> Evaluation:
    import torch

    made, real = (torch.from_numpy(pixels(12, seed).transpose(0, 3, 1, 2).copy()) for seed in (0, 1))
    features = {"kind": "lite0", "layer": "b4", "size": 16}
    return compare(made, real, features=features, cache=False, **{"metrics": "kid", **settings})


def test_json_keeps_a_request() -> None:
    request = Request(
        made="a",
        real="b",
        train="c",
        masks="d",
        metrics="fid,kid,prdc,is,auth,fid-infinity,ssim,lpips,ms-ssim,patch-ot",
        features={"kind": "lite0", "layer": "b7"},
        n=5,
        n_real=6,
        size=32,
        filter="box",
        mixed=True,
        on_broken="skip",
        seed=3,
    )
    assert load(Request, json.loads(request.to_json())) == request
    assert Request(made="a", real="b") == Request(**json.loads(Request(made="a", real="b").to_json()))


def test_an_evaluation_is_read_back_from_its_file_or_folder(tmp_path: Path) -> None:
    found = small(metrics="fd,kid,ssim")
    (tmp_path / "evaluation.json").write_text(found.to_json())
    assert read_evaluation(tmp_path) == read_evaluation(tmp_path / "evaluation.json") == found
    assert found.score("KD-lite0-b4-16px") == found.scores[1]
    with pytest.raises(ConfigError, match="no figure 'FID'; there are FD-lite0-b4-16px, KD-lite0-b4-16px, SSIM"):
        found.score("FID")


def test_short_names() -> None:
    for name in SHORT:
        assert metric(name) == metric(name.upper())
    assert metric("kid") == Kernel.Config() == metric("kernel") == metric({"kind": "kernel"}) == metric(Kernel.Config())
    names = [config.kind for config in Request(made="a", real="b", metrics=" fid, kid ,,prdc,").metrics]
    assert names == ["frechet", "kernel", "support"]
    assert [config.kind for config in Request(made="a", real="b").metrics] == names


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"metrics": "kdi"}, ("metrics", "unknown metric kind 'kdi'", "known:", "short names: fid, fd")),
        ({"metrics": "fid kid"}, ("metrics", "'fid kid'", "known:")),
        ({"metrics": ""}, ("metrics", "at least 1")),
        ({"metrics": " , "}, ("metrics", "at least 1")),
        ({"metrics": []}, ("metrics", "at least 1")),
        ({"metrics": [3]}, ("metrics",)),
        ({"metrics": [{"kind": "kernel", "subset": 3}]}, ("metrics", "subset")),
        ({"features": "lite1"}, ("features", "lite1", "known: alexnet")),
        ({"features": {"kind": "lite0", "layer": "b5"}}, ("features.layer", "'b4', 'b7'", "b5")),
        ({"features": {"kind": "lite0", "larey": "b4"}}, ("features.larey", "unknown key")),
        ({"n": 0}, ("n:", "greater than or equal to 1")),
        ({"n_real": -1}, ("n_real",)),
        ({"size": 0}, ("size", "greater than or equal to 1")),
        ({"size": 5000}, ("size", "4096")),
        ({"filter": "cubic"}, ("filter", "'lanczos'", "cubic")),
        ({"on_broken": "repair"}, ("on_broken", "'refuse' or 'skip'")),
        ({"seed": -1}, ("seed",)),
        ({"made": 3}, ("made", "string")),
        ({"resize": "box"}, ("resize", "unknown key")),
    ],
)
def test_wrong_entries(values: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Request, {"made": "a", "real": "b", **values}, "evaluate")
    text = str(caught.value)
    assert text.startswith("evaluate: ") and "\n" not in text
    assert all(word in text for word in words), text


def test_a_metric_uses_the_request_s_features_and_the_whole_image() -> None:
    lite0 = Lite0.Config(layer="b7")
    plain = Request(made="a", real="b", features=lite0, metrics="kid,ssim")
    assert plain.metrics[0].features == lite0  # type: ignore[attr-defined]
    assert plain.metrics[1] == SSIM.Config(region="all")
    masked = Request(made="a", real="b", masks="m", metrics="kid,ssim")
    assert masked.metrics[1] == SSIM.Config(region="hole")
    default = Request(made="a", real="b", metrics=[{"kind": "kernel", "features": "lite0"}])
    assert default.metrics == [Kernel.Config(features=Lite0.Config())]  # named, though it is what a study would take
    assert Request(**json.loads(default.to_json())) == default and Request(**json.loads(plain.to_json())) == plain


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1]", b"null", b"{}", b'{"request": 3, "scores": 4}', b"\xff\xfe", b"\x89PNG"]
)
def test_what_is_no_evaluation(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "evaluation.json").write_bytes(content)
    for path in (tmp_path, tmp_path / "evaluation.json"):
        with pytest.raises(SfumatoError) as caught:
            read_evaluation(path)
        assert "evaluation.json" in str(caught.value)


def test_a_changed_evaluation_is_refused_with_the_path_of_the_change(tmp_path: Path) -> None:
    values = json.loads(small().to_json())
    path = tmp_path / "e.json"
    changes: list[tuple[str, Any]] = [("extra", 1), ("made", 3), ("scores", [{}]), ("metric_of", ["a"])]
    for key, value in changes:
        path.write_text(json.dumps({**values, key: value}))
        with pytest.raises(ConfigError, match=rf"e\.json: {key}"):
            read_evaluation(path)
    path.write_text(json.dumps({"request": values["request"]}))
    with pytest.raises(DataError, match=r"is no evaluation; give the evaluation\.json"):
        read_evaluation(path)
