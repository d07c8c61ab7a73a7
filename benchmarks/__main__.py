"""`python -m benchmarks`: every table of docs/performance.md, some ten minutes on one core.

Each is also a command of its own, `panoptic-deeplab bench NAME`; what ours is compared with stands
beside it in `panoptic_deeplab/bench/`, so that an installed package can measure, too.
"""

from panoptic_deeplab.cli import main

RUNS = (
    ("bench", "postprocess", "--public-form"),
    ("bench", "targets"),
    ("bench", "metrics"),
    ("bench", "network", "--bfloat16"),
    ("bench", "decoders"),
    ("bench", "depthwise"),
)

for words in RUNS:
    try:
        main(list(words))
    except SystemExit as ended:
        if ended.code:
            raise
