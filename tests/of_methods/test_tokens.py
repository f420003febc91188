"""Every method works on a plain vision transformer: its tokens are timm's, at any size, with weights from a file."""

import pytest
import timm
import torch
from safetensors.torch import save_file

import methods
from methods.base import Batch
from methods.parts.attention import ChannelSpatial
from methods.parts.nets import UPSAMPLES, Arch
from methods.parts.tokens import Tokens

VIT = "tu-test_vit"  # patch 16, a class token, absolute positions
ROTARY = "tu-eva02_tiny_patch14_224"  # patch 14, rotary positions


def tiny(name: str = VIT, **fields) -> Arch:
    return Arch(name, "dpt", **{"weights": "none", "width": 32, **fields})


@pytest.fixture
def weights(tmp_path) -> tuple[torch.nn.Module, str]:
    """A transformer of timm, and a file of its weights, classifier included."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", dynamic_img_size=True).eval()
    path = tmp_path / "test_vit.safetensors"
    save_file(model.state_dict(), path)
    return model, str(path)


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("name", [VIT, ROTARY])
def test_encoder_and_decoder_give_logits_at_the_size_of_the_image(name, upsample):
    arch = tiny(name, classes=3)
    encoder, decoder = arch.encoder(), arch.decoder(ChannelSpatial, upsample)
    for height, width in ((1, 1), (31, 70), (64, 64)):
        features = encoder(torch.rand(2, 3, height, width))
        assert features[0].shape[-2:] == (height, width)
        assert [x.shape[1] for x in features] == list(arch.channels)
        assert {x.shape[-2:] for x in features[1:]} == {(-(-height // arch.stride), -(-width // arch.stride))}
        assert decoder(features).shape == (2, 3, height, width)


def test_the_deepest_map_is_what_timm_says_of_the_image(weights):
    model, path = weights
    encoder = tiny(weights=path).encoder().eval()
    x = torch.rand(2, 3, 48, 80)
    tokens = model.forward_features((x - encoder.mean) / encoder.std)[:, model.num_prefix_tokens :]
    assert torch.allclose(encoder(x)[-1], tokens.mT.reshape(2, -1, 3, 5), atol=1e-6)


def test_shallower_maps_are_normalised_like_the_deepest():
    for x in Tokens("test_vit")(torch.rand(2, 3, 64, 64))[1:]:
        assert torch.allclose(x.mean(1), torch.zeros(()), atol=1e-5)  # a layer norm that has not learnt yet


def test_another_transformers_weights_are_refused(weights):
    with pytest.raises(ValueError, match="does not fit encoder 'tu-test_vit2'"):
        tiny("tu-test_vit2", weights=weights[1]).encoder()


def test_a_hub_that_fails_is_named_with_the_remedy(monkeypatch):
    def offline(*args, **settings):
        if settings["pretrained"]:
            raise OSError("no route")
        return create(*args, **settings)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match="hub that does not answer; give a weights file"):
        tiny(weights="imagenet").encoder()


@pytest.mark.parametrize("name", [VIT, ROTARY])
def test_every_parameter_learns(name):
    net = tiny(name).net()
    net(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert [n for n, p in net.named_parameters() if not p.requires_grad or p.grad is None or not p.grad.any()] == []


def test_images_that_share_a_pass_do_not_influence_each_other():
    net = tiny(dropout=0.0).net().double().train()
    x = torch.rand(3, 3, 40, 33, dtype=torch.float64)
    assert torch.allclose(net(x), torch.cat([net(x[:1]), net(x[1:])]), atol=1e-9)
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("name", "decoder", "says"),
    [
        ("resnet18", "dpt", "choose a plain vision transformer"),
        ("tu-swin_tiny_patch4_window7_224", "dpt", "choose a plain vision transformer"),
        (VIT, "unet", "or the decoder 'dpt'"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused_with_the_remedy(name, decoder, says):
    with pytest.raises(ValueError, match=says):
        Arch(name, decoder, weights="none").net()


@pytest.mark.parametrize("method", methods.names())
def test_every_method_learns_on_a_transformer(method):
    torch.manual_seed(0)
    built = methods.build(method, tiny()).train()
    batch = Batch(torch.rand(2, 3, 33, 40), torch.randint(2, (2, 33, 40)), torch.rand(3, 3, 33, 40))
    terms = built.losses(batch, torch.tensor(1.0))
    assert all(term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    built.after_step()
    reached = [p for p in built.parameters() if p.grad is not None and p.grad.any()]
    assert sum(p.numel() for p in reached) > 0.9 * sum(p.numel() for p in built.parameters() if p.requires_grad)
    assert built.eval().predict(batch.x).shape == (2, 2, 33, 40)
