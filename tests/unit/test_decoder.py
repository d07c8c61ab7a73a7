from functools import partial

import pytest
import torch
from torch import nn

from panoptic_deeplab.decoder import ASPP, Branch, Head, PooledBranch


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def pooled(pooling="norm", window=None):
    return PooledBranch(6, 4, pooling=pooling, window=window, align_corners=True, norm_epsilon=1e-5)


def test_aspp_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        assert parameters(ASPP(2048)) == 3_007_488  # supplement: 46.72 M for Xception-71


def test_branches_have_the_papers_number_of_parameters():
    # Xception-71: stride 8 has 728 channels, stride 4 has 256.
    with torch.device("meta"):
        semantic, instance = (
            Branch(
                ASPP(2048),
                aspp_channels=256,
                low_channels=(728, 256),
                projections=projections,
                out_channels=out,
            )
            for out, projections in ((256, (64, 32)), (128, (32, 16)))
        )
        heads = [Head(256, 256, 19), Head(128, 32, 1), Head(128, 32, 2)]
    assert [parameters(h) for h in heads] == [77_331, 7_393, 7_426]
    assert parameters(semantic) + 77_331 == 3_311_667
    assert parameters(instance) + 7_393 + 7_426 == 3_116_403


def test_plain_aspp_has_dense_convolutions():
    aspp = ASPP(8, 4, rates=(1, 2, 3), separable=False)
    assert [b.conv.weight.shape for b in aspp.atrous] == [(4, 8, 3, 3)] * 3
    assert [b.conv.dilation for b in aspp.atrous] == [(1, 1), (2, 2), (3, 3)]


def test_aspp_keeps_the_grid_even_below_its_rates():
    aspp = ASPP(8, 4).eval()
    assert aspp(torch.rand(1, 8, 3, 5)).shape == (1, 4, 3, 5)


@pytest.mark.parametrize(
    ("pooling", "names"),
    [
        ("norm", {"conv.weight", "norm.weight", "norm.bias"}),
        ("bias", {"conv.weight", "conv.bias"}),
        ("plain", {"conv.weight"}),
    ],
)
def test_forms_of_the_pooled_branch(pooling, names):
    branch = pooled(pooling)
    assert {n for n, _ in branch.named_parameters()} == names
    out = branch.eval()(torch.rand(2, 6, 5, 7))
    assert out.shape == (2, 4, 5, 7)
    assert (out == out[:, :, :1, :1]).all()  # the whole map's mean, the same everywhere
    assert (out >= 0).all()


def test_pooling_window_slides():
    branch = pooled("plain", window=(2, 3))
    nn.init.constant_(branch.conv.weight, 1 / 6)
    x = torch.zeros(1, 6, 3, 4)
    x[..., 3] = 6.0  # windows: columns 0-2 (mean 0) and 1-3 (mean 2)
    out = branch(x)
    assert out.shape == (1, 4, 3, 4)
    assert out[0, 0, 0].tolist() == pytest.approx([0, 2 / 3, 4 / 3, 2])


def test_pooling_window_is_cut_to_the_map():
    x = torch.rand(1, 6, 3, 4)
    small, whole = pooled("plain", window=(9, 9)), pooled("plain")
    small.load_state_dict(whole.state_dict())
    assert torch.allclose(small(x), whole(x))


def test_one_image_is_too_few_for_the_pooled_norm():
    branch = pooled().train()
    with pytest.raises(ValueError, match=r"batch size of at least 2, got 1.*Raise batch_size"):
        branch(torch.rand(1, 6, 5, 5))
    branch(torch.rand(2, 6, 5, 5))
    branch.eval()(torch.rand(1, 6, 5, 5))
    pooled("bias").train()(torch.rand(1, 6, 5, 5))
    pooled(window=(3, 3)).train()(torch.rand(1, 6, 5, 5))


@pytest.mark.parametrize("align_corners", [True, False])
def test_branch_ends_on_the_finest_grid(align_corners):
    # Features at strides 4, 8, 16 and once more 16; two projections take strides 8 and 4.
    features = [torch.rand(2, c, n, n) for c, n in ((3, 17), (5, 9), (7, 5), (8, 5))]
    branch = Branch(
        ASPP(8, 4),
        aspp_channels=4,
        low_channels=(5, 3),
        projections=(2, 1),
        out_channels=6,
        align_corners=align_corners,
    )
    assert branch(features, branch.pyramid(features)).shape == (2, 6, 17, 17)


def test_branch_without_change_of_grid():
    features = [torch.rand(2, c, 9, 9) for c in (3, 5, 8)]
    branch = Branch(
        ASPP(8, 4), aspp_channels=4, low_channels=(5, 3), projections=(2, 1), out_channels=6
    )
    assert branch(features, branch.pyramid(features)).shape == (2, 6, 9, 9)


def test_dropout_only_while_training():
    torch.manual_seed(0)
    aspp, x = ASPP(8, 4, dropout=0.5), torch.rand(2, 8, 5, 5)
    assert not torch.equal(aspp.train()(x), aspp(x))
    assert torch.equal(aspp.eval()(x), aspp(x))


def test_branch_without_projections_must_be_as_wide_as_its_aspp():
    with pytest.raises(ValueError, match=r"must be as wide, got 6 and 4 channels.*to 4, or"):
        Branch(ASPP(8, 4), aspp_channels=4, low_channels=(), projections=(), out_channels=6)


def test_branches_can_share_an_aspp():
    features = [torch.rand(2, c, 9, 9) for c in (3, 8)]
    make = partial(Branch, aspp_channels=4, low_channels=(3,), projections=(2,), out_channels=6)
    first, second = make(ASPP(8, 4)), make(None)
    assert second(features, first.pyramid(features)).shape == (2, 6, 9, 9)
    assert not [key for key in second.state_dict() if key.startswith("aspp")]
