"""Kernels and feature maps of a layer, as numbers and as one picture."""

import pytest
import torch
from torch import nn

import torchconv
from torchconv.pictures import each_scaled, mosaic
from torchconv.tools import features

pytest.importorskip("matplotlib")


def network() -> nn.Sequential:
    return nn.Sequential(
        torchconv.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 2, groups=1)
    )


@pytest.mark.parametrize("layer", ["0", "3"])
def test_maps_are_what_the_layer_puts_out(layer):
    model, image = network(), torch.rand(3, 12, 10)
    seen = features.look(model, image, layer)
    model.eval()
    stages = {"0": model[:1], "3": model}
    assert torch.equal(seen.maps, stages[layer](image[None])[0])
    assert torch.equal(seen.kernels, model[int(layer)].weight)
    assert not seen.kernels.requires_grad and not seen.maps.requires_grad
    assert torch.equal(features.look(model, image[None], layer).maps, seen.maps)


def test_the_model_is_left_as_it_was():
    model = network()
    mean = model[1].running_mean.clone()
    features.look(model, torch.rand(3, 9, 9))
    assert model[1].training and torch.equal(model[1].running_mean, mean)
    assert not model[0]._forward_hooks


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_picture_is_a_file_and_a_notebooks_picture(channels, tmp_path):
    layer = torchconv.Conv2d(channels, 7, 5, dtype=torch.bfloat16)
    seen = features.look(layer, torch.rand(channels, 20, 30, dtype=torch.bfloat16))
    seen.save(tmp_path / "seen.png")
    written = (tmp_path / "seen.png").read_bytes()
    assert written[:4] == seen._repr_png_()[:4] == b"\x89PNG"
    assert len(written) > 5_000


def test_mosaic_keeps_every_map_and_a_gap_between():
    maps = torch.arange(5.0).view(5, 1, 1).expand(5, 2, 3)
    tiles = mosaic(maps)
    assert tiles.shape == (2 * 3 - 1, 3 * 4 - 1)
    assert tiles[0, ::4].tolist() == [0, 1, 2] and tiles[3, :8:4].tolist() == [3, 4]
    assert tiles[2].isnan().all() and tiles[:, 3].isnan().all() and tiles[3:, 8:].isnan().all()
    wide = mosaic(torch.zeros(2, 90, 60))  # large maps lie further apart
    assert wide.shape == (90, 60 + 3 + 60) and wide.isnan().sum() == 90 * 3
    assert each_scaled(maps - 2).amax((1, 2)).tolist() == [-1, -1, 0, 1, 1]


@pytest.mark.parametrize(("model", "image", "layer", "message"), [
    (nn.ReLU(), (3, 8, 8), "", "no 2-d convolution ''; the model has none"),
    (network(), (3, 8, 8), "1", "no 2-d convolution '1'; the model has 0, 3"),
    (network(), (2, 3, 8, 8), "", "one image"),
    (network(), (8, 8), "", "one image"),
])  # fmt: skip
def test_what_cannot_be_looked_at_is_said(model, image, layer, message):
    with pytest.raises(ValueError, match=message):
        features.look(model, torch.zeros(image), layer)


def test_a_layer_that_is_not_called_is_said():
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="did not call 'spare'"):
        features.look(Idle(), torch.zeros(3, 4, 4))
