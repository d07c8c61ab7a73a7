import pytest
import torch
from torch import nn

from panoptic_deeplab.depthwise import DepthwiseConv

FORMS = [(5, 1, 1), (5, 2, 1), (5, 1, 2), (3, 1, 2), (3, 1, 6), (3, 1, 7), (3, 1, 18), (3, 2, 2)]


@pytest.mark.parametrize(("kernel", "stride", "dilation"), FORMS)
@pytest.mark.parametrize("size", [(11, 14), (5, 5), (3, 8)])
def test_training_on_a_cpu_equals_the_plain_convolution(kernel, stride, dilation, size):
    torch.manual_seed(0)
    ours = DepthwiseConv(16, kernel, stride=stride, dilation=dilation)
    # Numbers that bfloat16 holds exactly and whose sums float32 holds: rounding hides no fault.
    ours.weight.data = torch.randint(-4, 5, ours.weight.shape).float()
    padding = dilation * (kernel // 2)
    plain = nn.Conv2d(
        16, 16, kernel, stride, padding=padding, dilation=dilation, groups=16, bias=False
    )
    plain.load_state_dict(ours.state_dict())
    image = torch.randint(-2, 3, (2, 16, *size)).float()
    results = []
    for conv, autocast in ((ours, True), (plain, False)):
        x = image.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = conv(x)
        gradient = (torch.arange(out.numel()).reshape(out.shape) % 3 - 1).to(out.dtype)
        out.backward(gradient)
        results.append((out.float(), x.grad, conv.weight.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2**-8, atol=0)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), FORMS)
@pytest.mark.parametrize("size", [(11, 14), (5, 5), (3, 8)])
def test_float32_training_equals_the_plain_convolution(kernel, stride, dilation, size):
    torch.manual_seed(0)
    ours = DepthwiseConv(16, kernel, stride=stride, dilation=dilation)
    plain = nn.Conv2d(
        16,
        16,
        kernel,
        stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=16,
        bias=False,
    )
    plain.load_state_dict(ours.state_dict())
    image = torch.randn(2, 16, *size)
    results = []
    for conv in (ours, plain):
        x = image.clone().requires_grad_()
        out = conv(x)
        out.backward(torch.cos(torch.arange(out.numel())).reshape(out.shape))
        results.append((out, x.grad, conv.weight.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernel", "dilation"), [(5, 2), (3, 6), (3, 18)])
def test_gradients_are_those_of_the_definition(kernel, dilation):
    conv = DepthwiseConv(2, kernel, dilation=dilation).double()
    x = torch.randn(1, 2, 9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (x,))
    assert torch.autograd.gradcheck(lambda w: conv_with(conv, x.detach(), w), (conv.weight,))


def conv_with(conv, x, weight):
    return torch.func.functional_call(conv, {"weight": weight}, (x,))


def test_types_that_do_not_match_are_refused_as_in_torch():
    with pytest.raises(RuntimeError, match="type"):
        DepthwiseConv(2, 3, dilation=2)(torch.zeros(1, 2, 5, 5, dtype=torch.float64))


def test_keys_and_float32_results_are_those_of_torch():
    torch.manual_seed(0)
    ours = DepthwiseConv(4, 5)
    plain = nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(1, 4, 9, 7)
    torch.testing.assert_close(ours(x), plain(x), rtol=0, atol=0)
