"""The smallest working network, whose random weights take milliseconds to compute and to train."""

from panoptic_deeplab.config import ModelConfig

TINY_MODEL = ModelConfig(
    backbone="mobilenet_v3_small",
    output_stride=32,
    aspp_channels=16,
    semantic_channels=16,
    semantic_projections=(8, 8),
    semantic_head_channels=8,
    instance_channels=16,
    instance_projections=(8, 8),
    instance_head_channels=8,
)
