"""Whole networks: as published, the same on torchconv, and what the two commands leave behind."""

import dataclasses
import json

import pytest
import torch
from torch import nn

import torchconv
from torchconv.tools import curves, measure, models, zoo
from torchconv.tools.__main__ import main

PUBLISHED = {
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "mobilenetv2": 3_504_872,
    "convnext_t": 28_589_128,
    "wav2vec2": 4_200_448,
}
OUTPUTS = {
    "unet3d": (1, 2, 48, 48, 48),
    "tcn": (1, 10, 2048),
    "wav2vec2": (1, 512, 99),
}
COMMAND = ["models", "--quick", "--size", "0.02", "--thin", "8", "--threads", "1", "--dtype",
           "float32"]  # fmt: skip
TIMING = measure.Timing(2.0, 1.0, 2.0, 1.5, 2.5, 5)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_networks_are_as_published(name):
    network = zoo.NETWORKS[name]
    with torch.device("meta"):
        model = network.build(1)
        output = model(torch.empty(1, *network.input_size))
    assert output.shape == OUTPUTS.get(name, (1, zoo.CLASSES))
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == PUBLISHED.get(name, parameters)
    assert network.resized(1.0) == network.input_size
    assert all(least >= network.least for least in network.resized(1e-3)[1:])


def test_resnet18_is_the_usual_one():
    with torch.device("meta"):
        model = zoo.resnet18()
        assert model(torch.empty(1, 3, 32, 32)).shape == (1, 10)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962


@pytest.mark.parametrize("dtype", models.DTYPES)
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_a_network_is_the_same_on_torchconv(name, dtype, monkeypatch, one_thread):
    ran = []

    def interleave(*calls, time_limit_s):
        ran.extend(call() for call in calls)
        return TIMING

    monkeypatch.setattr(models, "interleave", interleave)
    forward, step = models.run([name], [dtype], batch=2, size=1e-3, thin=8)
    assert (forward.error, step.error) == (None, None)
    assert (forward.kind, step.kind) == ("forward", "step") and len(ran) == 4
    assert forward.input_size[0] == 2 and forward.dtype == dtype
    assert ran[0].dtype == getattr(torch, dtype) and not ran[0].requires_grad
    if dtype == "float32":  # far from the tolerances, too
        assert forward.difference < 2e-5 and step.difference < 2e-3


def test_twins_share_parameters_and_differ_in_nothing_but_convolutions():
    native, ours = models.twins(zoo.tcn(8))
    pairs = list(zip(native.modules(), ours.modules(), strict=True))
    for theirs, own in pairs:
        assert theirs is not own
        assert type(own) is (torchconv.Conv1d if type(theirs) is nn.Conv1d else type(theirs))
    assert all(a is b for a, b in zip(native.parameters(), ours.parameters(), strict=True))
    assert sum(isinstance(own, torchconv.Conv1d) for _, own in pairs) == 18


def test_a_wrong_result_is_an_error(monkeypatch, capsys, one_thread):
    def twins(model):
        other = zoo.tcn(8)
        other.load_state_dict({k: 1.01 * v for k, v in model.state_dict().items()})
        return model, other

    monkeypatch.setattr(models, "twins", twins)
    assert main([*COMMAND, "--model", "tcn"]) == 1
    assert "of the norm, more than 0.0001" in capsys.readouterr().out


def test_relative_is_of_all_tensors_together():
    ours, native = [torch.tensor([3.0, 0.0]), torch.tensor(5.0)], [torch.tensor([3.0, 4.0])] * 1
    native.append(torch.tensor(5.0))
    assert models.relative(ours, native) == pytest.approx(4 / 50**0.5)
    assert not models.relative([torch.tensor(float("nan"))], [torch.tensor(1.0)]) <= 1


def test_models_are_measured_kept_and_drawn(tmp_path, capsys, one_thread):
    pytest.importorskip("matplotlib")
    saved, picture = tmp_path / "models.json", tmp_path / "models.png"
    assert main([*COMMAND, "--model", "tcn", "wav2vec2", "--json", str(saved)]) == 0
    assert capsys.readouterr().err.count("torch ") == 4
    facts, records = models.load(saved)
    assert facts["thin"] == 8 and len(records) == 4 and all(r.timing for r in records)
    assert [path.name for path in tmp_path.iterdir()] == ["models.json"]
    records.append(dataclasses.replace(records[0], dtype="bfloat16", timing=None, error="no"))
    models.save(facts, records, saved)
    assert models.load(saved) == (facts, records)
    assert main(["models", "--from", str(saved), "--plot", str(picture)]) == 1
    shown = capsys.readouterr().out
    assert shown.count("wav2vec 2.0 features") == 2 and "training step" in shown
    assert "ERROR error  TCN, forward, bfloat16: no" in shown
    assert picture.stat().st_size > 10_000


# --- Curves -------------------------------------------------------------------------------------


def test_a_nudge_is_to_the_next_number():
    model = zoo.resnet18(16)
    before = [p.clone() for p in model.parameters()]
    curves.nudge(model)
    for old, new in zip(before, model.parameters(), strict=True):
        if old.dim() == 1:
            assert new.equal(old)
        else:
            up, down = (torch.nextafter(old, torch.tensor(far)) for far in (torch.inf, -torch.inf))
            assert ((new == up) | (new == down)).all() and (new == up).any() and (new == down).any()


def test_images_can_be_told_apart_and_come_again():
    (first, labels), (second, _) = curves.images(2, 64)
    assert first.shape == (64, 3, 32, 32) and set(labels.tolist()) == set(range(10))
    assert not first.equal(second) and first.equal(next(curves.images(1, 64))[0])
    mean = [first[labels == label].mean(0).flatten() for label in range(10)]
    assert torch.corrcoef(torch.stack(mean)).triu(1).abs().max() < 0.8


def test_curves_agree_are_kept_and_drawn(tmp_path, capsys, one_thread):
    pytest.importorskip("matplotlib")
    saved, picture = tmp_path / "curves.json", tmp_path / "curves.png"
    command = ["curves", "--steps", "3", "--batch", "4", "--thin", "8", "--threads", "1"]
    assert main([*command, "--json", str(saved)]) == 0
    assert "torchconv, step 3 of 3" in capsys.readouterr().err
    trained = curves.Curves.load(saved)
    assert trained.settings == {"steps": 3, "batch": 4, "thin": 8}
    assert list(trained.losses) == list(curves.RUNS)
    assert all(len(losses) == 3 for losses in trained.losses.values())
    assert all(sum(counts.values()) == 20 for counts in trained.algorithms.values())
    assert max(trained.apart(curves.OURS)) < 1e-2  # three steps amplify little
    assert main(["curves", "--from", str(saved), "--plot", str(picture)]) == 0
    assert "layers by weight: " in capsys.readouterr().out
    assert picture.stat().st_size > 10_000
    content = json.loads(saved.read_text())
    content["losses"][curves.OURS][0] *= 1.001
    saved.write_text(json.dumps(content))
    assert main(["curves", "--from", str(saved)]) == 1
