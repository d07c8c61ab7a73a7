import pytest
import torch

from panoptic_deeplab.backbones.autodeeplab import (
    CELL,
    Atrous,
    AutoDeepLab,
    Cell,
    SeparableTwice,
    auto_deeplab_l,
    auto_deeplab_l_plus,
    auto_deeplab_m,
    auto_deeplab_s,
    auto_deeplab_xl,
)
from panoptic_deeplab.backbones.base import DropPath, set_progress


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def tiny(**options):
    torch.manual_seed(0)
    return AutoDeepLab(width=4, **options).eval()


def cell_grids(model, size):
    """Heights of the cells' outputs."""
    heights = []
    for cell in model.cells:
        cell.register_forward_hook(lambda _module, _inputs, out: heights.append(out.shape[-2]))
    with torch.no_grad():
        model(torch.rand(1, 3, *size))
    return heights


# Counted elsewhere from the TensorFlow sources, cell by cell.
CELLS = {
    auto_deeplab_s: "38240 38960 38400 135200 512000 151200 536000 536000 2038400 2102400 616000 "
    "175200",
    auto_deeplab_m: "89216 92288 93312 336128 1290752 377088 1352192 1352192 5178368 5342208 "
    "1556992 438528",
    auto_deeplab_l: "189888 198336 203712 743808 2879232 835968 3017472 3017472 11601408 11970048 "
    "3478272 974208",
    auto_deeplab_xl: "323712 344320 356608 1311232 5096448 1475072 5342208 5342208 20580352 "
    "21235712 6161408 1720832",
}


@pytest.mark.parametrize("builder", CELLS)
def test_cells_have_their_number_of_parameters(builder):
    with torch.device("meta"):
        model = builder()
    assert parameters(model.stem) == 112_832
    assert [parameters(cell) for cell in model.cells] == [int(n) for n in CELLS[builder].split()]


def test_removing_the_stride_changes_no_parameter():
    with torch.device("meta"):
        assert parameters(auto_deeplab_l()) == parameters(auto_deeplab_l_plus()) == 39_222_656


def test_cells_follow_the_path():
    assert cell_grids(tiny(), (65, 65)) == [17, 17, 17, 9, 5, 9, 5, 5, 3, 3, 5, 9]


def test_without_the_coarsest_stride_nothing_lies_beyond_16():
    model = tiny(keep_coarsest_stride=False)
    assert cell_grids(model, (65, 65)) == [17, 17, 17, 9, 5, 9, 5, 5, 5, 5, 5, 9]
    atrous = [m for m in model.cells[8].modules() if isinstance(m, Atrous)]
    assert [m.conv.conv.dilation for m in atrous] == [(2, 2)] * 3


def test_sizes_that_do_not_align_come_back_to_their_grid():
    # 50 -> 25 -> 13 -> 7 -> 4 -> 2: doubling 2 to 3 and 5 would miss the grids of 4 and 7.
    assert cell_grids(tiny(), (50, 50)) == [13, 13, 13, 7, 4, 7, 4, 4, 2, 2, 4, 7]


def test_maps_can_be_doubled_as_in_tensorflow():
    model = tiny(exact_grids=False)
    assert cell_grids(model, (50, 50)) == [13, 13, 13, 7, 4, 7, 4, 4, 2, 2, 3, 5]
    image = torch.rand(1, 3, 65, 97)  # sides of 32 n + 1
    with torch.no_grad():
        for a, b in zip(model(image), tiny()(image), strict=True):
            assert torch.equal(a, b)


def test_strided_cell_dilates_nothing_that_reads_its_inputs():
    cell = tiny().cells[3]
    reads_inputs = [
        module
        for pair, modules in zip(CELL, cell.states, strict=True)
        for operation, module in zip(pair, modules, strict=True)
        if operation.source < 2
    ]
    for module in reads_inputs:
        if isinstance(module, Atrous):
            assert module.conv.conv.dilation == (1, 1)
        else:
            assert [d.stride for d in module.depthwise] == [(2, 2), (1, 1)]
    last = cell.states[4][1]  # atrous 5x5 on state 5, which lies on the strided grid
    assert (last.stride, last.conv.conv.dilation) == (1, (2, 2))


def test_strided_operations_agree_on_the_grid():
    x = torch.rand(1, 4, 7, 10)
    for make in (SeparableTwice, lambda *a, **k: Atrous(*a, align_corners=True, **k)):
        assert make(4, 3, stride=2, norm_epsilon=1e-3)(x).shape == (1, 4, 4, 5)


def test_second_input_is_narrowed_only_where_it_must():
    narrow, fits = (
        Cell(
            (20, channels),
            4,
            stride=1,
            align_corners=True,
            norm_epsilon=1e-3,
            drop_path=0.0,
        )
        for channels in (8, 4)
    )
    assert narrow.before is not None
    assert fits.before is None


def test_features_are_taken_before_the_relu_except_the_last():
    with torch.no_grad():
        features = tiny()(torch.rand(1, 3, 65, 65))
    assert [f.shape[1] for f in features] == [20, 40, 40]
    assert features[0].min() < 0
    assert features[1].min() < 0
    assert features[2].min() == 0


def test_drop_path_is_scheduled():
    model = tiny(drop_path=0.4)
    paths = [m for m in model.modules() if isinstance(m, DropPath)]
    assert [p.rate for p in paths] == pytest.approx([0.4 * (i + 1) / 12 for i in range(12)])
    set_progress(model, 0.5)
    assert all(p.is_scheduled and p.progress == 0.5 for p in paths)


def test_other_output_strides_are_refused():
    with pytest.raises(ValueError, match="always lies at stride 8, got output_stride 16"):
        AutoDeepLab(width=4, output_stride=16)
