import math

import pytest
import torch

from panoptic_deeplab.bench import BENCHES
from panoptic_deeplab.bench.base import Times, threads, time_in_turn
from panoptic_deeplab.bench.data import COLUMNS as STAGE_COLUMNS
from panoptic_deeplab.bench.data import STAGES, bench_data
from panoptic_deeplab.bench.decoders import COLUMNS, DECODERS, compare_decoders
from panoptic_deeplab.counting import count


def test_functions_run_in_turn_after_a_warm_up():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = time_in_turn(functions, rounds=3)
    assert "".join(calls) == "cba" + "abc" + "cba" + "abc"
    assert {name: len(t.seconds) for name, t in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_times_are_in_milliseconds():
    times = Times([0.004, 0.001, 0.002])
    assert times.median_ms == pytest.approx(2)
    assert times.fastest_ms == pytest.approx(1)
    # Round by round: 2, 1 and 4 times as long.
    assert Times([0.008, 0.001, 0.008]).times_as_long_as(times) == pytest.approx(2)


def test_no_round_is_refused():
    with pytest.raises(ValueError, match=r"rounds must be at least 1, got 0. Use 5"):
        time_in_turn({}, rounds=0)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with threads(before + 1) as used:
        assert used == torch.get_num_threads() == before + 1
    with threads(0) as used:
        assert used == before
    assert torch.get_num_threads() == before


def test_negative_threads_are_refused():
    with (
        pytest.raises(ValueError, match=r"threads must not be negative, got -1. Use 0"),
        threads(-1),
    ):
        pass


def test_no_class_is_refused():
    with pytest.raises(ValueError, match=r"classes must be at least 1, got 0. Cityscapes has 19"):
        compare_decoders(
            backbone="mobilenet_v3_small",
            output_stride=16,
            size=(65, 97),
            num_classes=0,
            rounds=1,
            num_threads=1,
        )


def test_decoders_are_counted_and_timed():
    size = (65, 97)
    result = compare_decoders(
        backbone="mobilenet_v3_small",
        output_stride=16,
        size=size,
        num_classes=5,
        rounds=2,
        num_threads=1,
    )
    assert [row[0] for row in result.rows] == list(DECODERS)
    assert all(len(row) == len(COLUMNS) for row in result.rows)
    assert (result.plain["input"], result.plain["threads"]) == ([65, 97], 1)
    for row, (name, config) in zip(result.plain["results"], DECODERS.items(), strict=True):
        counts = count(config.model_copy(update={"backbone": "mobilenet_v3_small"}), 5, size)
        assert row["name"] == name
        assert row["params"] == counts.parameters
        assert row["multiply_adds"] == counts.multiply_adds.convolution
        assert 0 < row["fastest_ms"] <= row["latency_ms"]


def test_both_decoders_are_those_of_the_supplement():
    parameters = [
        count(config.model_copy(update={"backbone": "xception71"}), 19, (65, 65)).parameters
        for config in DECODERS.values()
    ]
    assert parameters == [46_717_806, 46_609_742]


@pytest.mark.parametrize(("pictures", "cache_mb"), [("png", 0), ("jpg", 64)])
def test_training_images_are_timed_by_stage_and_from_the_loader(pictures, cache_mb):
    result = bench_data(
        pictures=pictures,
        size=(64, 128),
        crop=(33, 65),
        images=8,
        batch=2,
        workers=1,
        cache_mb=cache_mb,
        network_ms=5,
    )
    assert [row[0] for row in result.rows][:5] == [*STAGES, "all"]
    assert all(len(row) == len(STAGE_COLUMNS) for row in result.rows)
    *stages, whole = (stage["ms"] for stage in result.plain["stages"])
    assert sum(stages) == pytest.approx(whole)
    assert result.plain["cores_that_keep_it_fed"] == math.ceil(whole / 5)
    # Two images are shown in not less than the ten milliseconds that their network takes.
    assert 0 < result.plain["network_images_per_second"] <= 200


@pytest.mark.parametrize("wrong", [{"images": 7}, {"batch": 0}, {"workers": -1}, {"cache_mb": -1}])
def test_numbers_out_of_range_are_refused_before_anything_is_drawn(wrong):
    with pytest.raises(ValueError, match="must"):
        bench_data(**{"images": 8, "batch": 4, **wrong})


def test_every_bench_has_what_the_command_needs():
    for options, work in BENCHES.values():
        assert {"json", "debug"} <= set(options.__dataclass_fields__)
        assert options.__doc__
        assert callable(work)
