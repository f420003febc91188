"""LoRA on a frozen vision transformer: what is trained, what it costs, and every method on it, offline."""

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import methods
from benchmark.protocol import flops
from methods.base import Batch
from methods.parts.lora import Lora, rank_of
from methods.parts.nets import Arch
from methods.parts.teacher import Teacher

WIDTH, BLOCKS = 64, 6  # of timm's test_vit


@pytest.fixture(scope="module")
def arch(tmp_path_factory) -> Arch:
    """A tiny transformer with random weights from a file, adapted with rank 4."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "test_vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return Arch("tu-test_vit", "dpt", weights=str(path), width=16, dropout=0.0, steps=10, adapt="lora:4")


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 32, 32, generator=generator)
    return Batch(images[:2], (images[:2].mean(1) > 0.5).long(), images[2:])


def stepped(method: methods.base.Method, steps: int) -> None:
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        torch.manual_seed(step)
        sum(method.losses(batch(), torch.tensor(step / steps)).values()).backward()
        optimiser.step()
        optimiser.zero_grad()
        method.after_step()


def test_an_adapted_layer_adds_b_a_x_by_hand():
    layer = Lora(nn.Linear(2, 1, bias=False), 1)
    with torch.no_grad():
        layer.layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.down.weight.copy_(torch.tensor([[3.0, -1.0]]))
    x = torch.tensor([[1.0, 1.0]])
    assert layer(x).item() == 3, "B is 0 at first"
    nn.init.constant_(layer.up.weight, 0.5)
    assert layer(x).item() == 3 + 0.5 * (3 - 1)


def test_before_training_the_features_are_those_of_the_frozen_transformer(arch):
    torch.manual_seed(0)
    frozen, adapted = dataclasses.replace(arch, adapt="full").encoder(), arch.encoder()
    x = torch.rand(2, 3, 40, 48)
    assert all(torch.equal(one, other) for one, other in zip(frozen(x), adapted(x), strict=True))


def test_only_the_added_maps_and_the_decoder_are_trained(arch):
    net, decoder = arch.net(), arch.decoder()
    trained = {name: p for name, p in net.encoder.named_parameters() if p.requires_grad}
    assert all(".qkv.down." in name or ".qkv.up." in name for name in trained)
    assert sum(p.numel() for p in trained.values()) == BLOCKS * 4 * (WIDTH + 3 * WIDTH)
    method = methods.build("supervised", arch)
    before = {name: p.clone() for name, p in method.named_parameters()}
    stepped(method, 3)
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in method.named_parameters() if p.requires_grad}
    assert len(moved) == len(trained) + len(list(decoder.parameters()))


def test_the_cost_counts_what_is_trained_and_no_gradient_of_frozen_weights(arch):
    """Each linear layer costs a forward pass and two backward ones; frozen ones only one, that of their input."""
    adapted, full = (
        flops.count(methods.build("supervised", one), batch())
        for one in (arch, dataclasses.replace(arch, adapt="full"))
    )
    decoder = sum(p.numel() for p in arch.decoder().parameters())
    assert adapted["parameters"] == decoder + BLOCKS * 4 * (WIDTH + 3 * WIDTH)
    assert adapted["flops"] < full["flops"] and adapted["parameters"] < full["parameters"] / 2


@pytest.mark.parametrize("name", methods.names())
def test_every_method_adapts_a_frozen_transformer(arch, name):
    torch.manual_seed(0)
    method = methods.build(name, arch).train()
    frozen = {n: p.clone() for n, p in method.named_parameters() if ".layer.weight" in n}
    stepped(method, 2)
    assert frozen and all(torch.equal(p, frozen[n]) for n, p in method.named_parameters() if n in frozen)
    with torch.no_grad():
        assert method.eval().predict(torch.rand(1, 3, 37, 50)).shape == (1, 2, 37, 50)


def test_a_teacher_shares_the_frozen_weights_and_averages_the_others(arch):
    net = arch.net()
    teacher = Teacher(net, 0.5)
    own, followed = dict(teacher.net.named_parameters()), dict(net.named_parameters())
    assert {name for name in own if own[name] is followed[name]} == {
        n for n, p in followed.items() if not p.requires_grad
    }
    nn.init.constant_(net.encoder.backbone.model.blocks[0].attn.qkv.up.weight, 1.0)
    teacher.update(net)
    teacher.update(net)
    assert teacher.net.encoder.backbone.model.blocks[0].attn.qkv.up.weight.eq(1).all()


def test_what_cannot_be_adapted_is_refused_with_the_remedy(arch):
    with pytest.raises(ValueError, match="freezes the encoder, so --weights must name"):
        dataclasses.replace(arch, weights="none")
    with pytest.raises(ValueError, match="'tu-tf_efficientnet_lite0' has no attention layer that LoRA can adapt"):
        Arch(adapt="lora:4", width=32).encoder()
    assert (rank_of("full"), rank_of("lora:16")) == (0, 16)
    for wrong in ("lora", "lora:0", "lora:-1", "lora:4.5", "LoRA:4", ""):
        with pytest.raises(ValueError, match="give 'full', or lora:RANK"):
            Arch(adapt=wrong)
