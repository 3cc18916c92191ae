"""The teaching set of the demo: what is held out stays out; drawings and the 2-D VAE are what they claim."""

import random

import numpy as np
import pytest
import torch

from generation.engine.demo import specs
from generation.engine.demo.draw import draw
from generation.engine.demo.fast import RealAttention
from generation.engine.demo.flat import FlatVae, write_back
from generation.engine.demo.model import build_text_encoder, build_transformer, build_vae
from generation.engine.demo.muon import orthogonalise
from generation.engine.demo.specs import Scene, Shape
from generation.engine.demo.tokenizer import DROPPED, train_tokenizer
from generation.engine.demo.train_text import ATTRIBUTES, NOT_ASKED, Namer, labels_of, tokenise


def test_training_never_draws_a_held_out_combination() -> None:
    rng = random.Random(0)
    trained = {specs.combination(specs.sample_training_spec(rng)) for _ in range(30_000)}
    held = {specs.combination(spec) for spec in specs.held_out(seed=0, count=280)}
    assert len(trained) > 3_000
    assert not trained & held


def test_held_out_share_is_about_a_tenth() -> None:
    scenes = [specs.is_held_out(spec) for spec in specs.all_scenes()]
    shapes = [specs.is_held_out(spec) for spec in specs.all_shapes()]
    assert 0.07 < sum(scenes) / len(scenes) < 0.13
    assert 0.07 < sum(shapes) / len(shapes) < 0.13


def test_the_size_does_not_move_a_shape_out_of_the_held_out_set() -> None:
    for spec in specs.held_out(seed=1, count=50):
        if isinstance(spec, Shape):
            assert all(
                specs.is_held_out(Shape(spec.shape, spec.colour, size, spec.place, spec.background))
                for size in specs.SIZES
            )


@pytest.mark.parametrize("spec", [Shape("star", "red"), Scene("house", "white", "left", "meadow", "night")])
def test_neighbours_differ_in_one_attribute(spec: specs.Spec) -> None:
    for other in specs.neighbours(spec):
        assert sum(getattr(spec, name) != value for name, value in vars(other).items()) == 1


@pytest.mark.parametrize(("width", "height"), [(256, 256), (384, 256), (128, 192)])
def test_drawing_has_the_size_and_repeats_with_its_seed(width: int, height: int) -> None:
    spec = Scene("boat", "red", "right", "sea", "sunset")
    first = draw(spec, width=width, height=height, rng=random.Random(1))
    again = draw(spec, width=width, height=height, rng=random.Random(1))
    other = draw(spec, width=width, height=height, rng=random.Random(2))
    assert first.size == (width, height)
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_flat_vae_equals_the_real_one_and_writes_back() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    flat = FlatVae(vae).eval()
    with torch.no_grad():
        for weight in flat.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
        write_back(flat, vae)
        pixels = torch.rand(1, 3, 64, 96) * 2 - 1
        latents = vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
        assert torch.allclose(latents, flat.encode(pixels), atol=1e-4)
        decoded = vae.decode(latents[:, :, None]).sample[:, :, 0]
        assert torch.allclose(decoded, flat.decode(latents).clamp(-1, 1), atol=1e-4)
    assert decoded.shape == pixels.shape


def test_training_attention_equals_diffusers() -> None:
    torch.manual_seed(0)
    transformer = build_transformer().eval()
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    inputs = {
        "hidden_states": torch.randn(2, 16, 128),
        "timestep": torch.tensor([1.0, 0.5]),
        "encoder_hidden_states": torch.randn(2, 7, 160),
        "encoder_hidden_states_mask": mask,
        "img_shapes": [[(1, 4, 4)]] * 2,
        "return_dict": False,
    }
    with torch.no_grad():
        usual = transformer(**inputs)[0]
        transformer.set_attn_processor(RealAttention())
        real = transformer(**inputs)[0]
    assert usual.abs().max() > 0.01
    assert torch.allclose(usual, real, atol=1e-5)


def test_orthogonalise_levels_the_singular_values() -> None:
    torch.manual_seed(0)
    levelled = orthogonalise(torch.randn(3, 24, 80))
    values = torch.linalg.svdvals(levelled).numpy()
    assert np.all((values > 0.5) & (values < 1.5))


def test_labels_name_every_attribute_of_a_drawing_and_no_other() -> None:
    shape, scene = Shape("star", "red", "big", "top left", "blue"), Scene("boat", "white", "left", "sea", "night")
    labels = labels_of([shape, scene])
    told = {
        name: tuple("-" if k == NOT_ASKED else ATTRIBUTES[name][k] for k in label.tolist())
        for name, label in labels.items()
    }
    assert told == {
        "kind": ("Shape", "Scene"),
        "shape": ("star", "-"),
        "object": ("-", "boat"),
        "colour": ("red", "white"),
        "size": ("big", "-"),
        "place": ("top left", "left"),
        "background": ("blue", "-"),
        "ground": ("-", "sea"),
        "time": ("-", "night"),
    }


def test_the_text_encoder_learns_from_captions() -> None:
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    namer = Namer(build_text_encoder(tokenizer)).train()
    optimizer = torch.optim.AdamW([p for p in namer.parameters() if p.requires_grad], lr=3e-3)
    drawings = [Shape(shape, "red", "big", "top", "blue") for shape in specs.SHAPES]
    ids, mask = tokenise(tokenizer, [f"a big red {drawing.shape}" for drawing in drawings])
    assert ids.shape == mask.shape == (len(drawings), DROPPED + 24)
    losses = []
    for _ in range(80):
        loss, right = namer(ids, mask, labels_of(drawings))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert right.all()
    assert losses[-1] < 0.2 * losses[0]
