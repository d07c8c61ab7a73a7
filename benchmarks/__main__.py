"""`python -m benchmarks`: all of them at their full sizes, a few minutes on one core."""

from benchmarks.metrics import bench_metrics
from benchmarks.postprocess import bench_postprocess
from benchmarks.targets import bench_targets

for bench in (bench_postprocess, bench_targets, bench_metrics):
    print(bench.__name__.removeprefix("bench_"))
    for name, row in bench().items():
        print(f"  {name:20}", "  ".join(f"{key} {value:.1f}" for key, value in row.items()))
