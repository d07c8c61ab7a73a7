import pytest
import torch
from torch import nn

from panoptic_deeplab.dilated import DilatedConv, replace_dilated

FORMS = [(16, 1), (18, 1), (24, 1), (36, 1), (5, 1), (36, 36), (32, 8)]


def soil_memory():
    """Leave huge numbers in the memory that the next call gets, so that reading it shows."""
    sizes = [4**power for power in range(4, 11)] * 3
    return [torch.full((size,), 3e38) for size in sizes] and None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("channels", "groups"), FORMS)
def test_bfloat16_training_on_a_cpu_equals_the_plain_convolution(channels, groups, threads):
    torch.manual_seed(0)
    ours = DilatedConv(channels, 72, 3, padding=2, dilation=2, groups=groups)
    # Numbers that bfloat16 holds exactly and whose sums float32 holds: rounding hides no fault.
    ours.weight.data = torch.randint(-4, 5, ours.weight.shape).float()
    ours.bias.data = torch.randint(-4, 5, ours.bias.shape).float()
    plain = nn.Conv2d(channels, 72, 3, padding=2, dilation=2, groups=groups)
    plain.load_state_dict(ours.state_dict())
    image = torch.randint(-2, 3, (4, channels, 17, 33)).float()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    results = []
    try:
        for conv, autocast in ((ours, True), (plain, False)):
            x = image.to(memory_format=torch.channels_last).requires_grad_()
            conv.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                out = conv(x)
            gradient = (torch.arange(out.numel()).reshape(out.shape) % 3 - 1).to(out.dtype)
            soil_memory()
            out.backward(gradient.contiguous(memory_format=torch.channels_last))
            results.append((out.float(), x.grad, conv.weight.grad, conv.bias.grad))
    finally:
        torch.set_num_threads(before)
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2**-8, atol=0)


def test_without_training_or_in_float32_it_is_the_plain_convolution():
    torch.manual_seed(0)
    ours = DilatedConv(18, 8, 3, padding=2, dilation=2)
    plain = nn.Conv2d(18, 8, 3, padding=2, dilation=2)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(1, 18, 9, 11)
    assert torch.equal(ours(x), plain(x))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), plain(x))


def test_weights_in_bfloat16_without_autocast():
    ours = DilatedConv(18, 8, 3, padding=2, dilation=2).bfloat16()
    out = ours(torch.ones(1, 18, 9, 11, dtype=torch.bfloat16))
    out.sum().backward()
    assert out.dtype == torch.bfloat16
    # The middle tap sees every pixel, a corner tap the 7 x 9 that lie two further in.
    assert torch.equal(ours.weight.grad[:, :, 1, 1], torch.full((8, 18), 99).bfloat16())
    assert torch.equal(ours.weight.grad[:, :, 0, 0], torch.full((8, 18), 63).bfloat16())


def test_a_foreign_network_keeps_its_weights_keys_and_results():
    class Derived(nn.Conv2d):
        pass

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ModuleDict({"a": nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=8, bias=False)}),
        Derived(8, 8, 3, padding=2, dilation=2),
    ).eval()
    keys, dilated = list(network.state_dict()), network[1]["a"]
    x = torch.randn(1, 8, 9, 9)
    expected = dilated(x)
    replace_dilated(network)
    assert [type(part).__name__ for part in (network[0], network[1]["a"], network[2])] == [
        "Conv2d",
        "DilatedConv",
        "Derived",
    ]
    assert list(network.state_dict()) == keys
    assert network[1]["a"].weight is dilated.weight
    assert not network[1]["a"].training
    assert torch.equal(network[1]["a"](x), expected)
