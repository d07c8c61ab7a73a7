"""Pictures of panoptic maps, for people: colours, overlays with names, views of the heads.

Comes in: images (H, W, 3) uint8 RGB, `PanopticMap`s with their `LabelSpace`, and heads as float
arrays. Goes out: (H, W, 3) uint8 RGB. Nothing is read from or written to files here.
"""

from collections import Counter
from collections.abc import Iterable
from colorsys import hls_to_rgb, rgb_to_hls

import cv2
import numpy as np
from numpy.typing import NDArray

from panoptic_deeplab import captions
from panoptic_deeplab.captions import Color, Picture
from panoptic_deeplab.labels import LabelSpace
from panoptic_deeplab.structures import VOID, PanopticMap, Segment

# Changes of (hue, lightness) that tell instances of one class apart and still show the class.
# Chosen by eye on street scenes, facades and nuclei.
_VARIANTS = (
    (0.0, 0.0),
    (0.07, 0.14),
    (-0.07, -0.10),
    (0.12, -0.12),
    (-0.12, 0.16),
    (0.04, 0.24),
    (-0.04, -0.18),
    (0.16, 0.06),
)

MOST_NAMES = 24
"""Names of a class are left out where it has more instances: they would hide the picture."""

_LAYOUT_SIDE_PX = 512  # places of names are searched on a map thinned to about this side


def color_map(panoptic: PanopticMap, labels: LabelSpace) -> Picture:
    """Paint each segment in its class's colour; void is black.

    Instances of a thing class get shades of it, and instances that touch get different ones.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: if a segment's class is not in the label space.
    """
    colors = segment_colors(panoptic, labels)
    ids = np.array([VOID, *sorted(colors)], dtype=np.int64)
    table = np.array([(0, 0, 0), *(colors[i] for i in sorted(colors))], dtype=np.uint8)
    rows = np.searchsorted(ids, panoptic.segment_map).clip(max=len(ids) - 1)
    rows[ids[rows] != panoptic.segment_map] = 0  # ids of the map that nobody listed
    return np.asarray(table[rows], np.uint8)


def segment_colors(panoptic: PanopticMap, labels: LabelSpace) -> dict[int, Color]:
    """Choose the colour of every segment: id -> (red, green, blue)."""
    neighbours = _neighbours(panoptic)
    # Among several thing classes the hue has to tell the class, too.
    reach = 1.0 if len(labels.thing_ids) == 1 else 0.5
    colors: dict[int, Color] = {}
    chosen: dict[int, int] = {}  # segment id -> variant
    count: dict[int, int] = {}  # class id -> instances so far
    for segment in panoptic.segments:
        _check_class(segment, labels)
        info = labels.classes[segment.class_id]
        if not info.is_thing:
            colors[segment.id] = info.color
            continue
        place = count.get(segment.class_id, 0)
        count[segment.class_id] = place + 1
        order = [(place + k) % len(_VARIANTS) for k in range(len(_VARIANTS))]
        taken = {chosen[n] for n in neighbours.get(segment.id, ()) if n in chosen}
        chosen[segment.id] = next((v for v in order if v not in taken), order[0])
        hue, lightness = _VARIANTS[chosen[segment.id]]
        colors[segment.id] = _shade(info.color, reach * hue, lightness)
    return colors


def overlay(
    image: Picture,
    panoptic: PanopticMap,
    labels: LabelSpace,
    *,
    opacity: float = 0.5,
    names: bool = True,
    scale: int = 1,
) -> Picture:
    """Lay colours, outlines and names of the segments over their image.

    Void stays as it is in the image. Things are named with their score; names are left out for
    instances smaller than their name, and for classes with more than `MOST_NAMES` instances.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic: truth or prediction, (H, W).
        labels: its classes.
        opacity: share of the colours, 0 to 1.
        names: write class names and scores.
        scale: enlarge everything so many times first, so that names are readable on small
            images; see `readable_scale`.

    Returns:
        (scale * H, scale * W, 3) uint8.

    Raises:
        ValueError: if the sizes differ or a segment's class is not in the label space.
    """
    if image.shape[:2] != panoptic.size:
        raise ValueError(
            f"The overlay needs a map as large as its image, got an image of {image.shape[:2]} "
            f"and a map of {panoptic.size} (height, width). Resize one of them."
        )
    colors = color_map(panoptic, labels)
    segment_map = panoptic.segment_map
    if scale > 1:
        size = (scale * image.shape[1], scale * image.shape[0])
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        colors = colors.repeat(scale, 0).repeat(scale, 1)
        segment_map = segment_map.repeat(scale, 0).repeat(scale, 1)
    mixed = cv2.addWeighted(image, 1 - opacity, colors, opacity, 0)
    picture = np.where((segment_map == VOID)[..., None], image, mixed).astype(np.uint8)
    thickness = max(1, round(_line_px(picture)))
    edges = outlines(segment_map, thickness)
    # Lighter than the colour inside, so that dark classes show their outlines as well.
    picture[edges] = (0.45 * colors[edges] + 0.55 * 255).astype(np.uint8)
    if names:
        picture = captions.write_names(picture, _names(panoptic, labels, scale))
    return picture


def readable_scale(size: tuple[int, int], target_px: int = 720) -> int:
    """By how much to enlarge a picture so that its longer side comes near `target_px`.

    Example:
        >>> readable_scale((192, 384)), readable_scale((1024, 2048))
        (2, 1)
    """
    return max(1, round(target_px / max(size)))


def outlines(segment_map: NDArray[np.int32], thickness: int = 1) -> NDArray[np.bool_]:
    """Mark the pixels on the border between two segments, inside both; (H, W) bool."""
    edges = np.zeros(segment_map.shape, np.uint8)
    across = segment_map[:, 1:] != segment_map[:, :-1]
    down = segment_map[1:] != segment_map[:-1]
    edges[:, 1:] |= across
    edges[1:] |= down
    if thickness > 1:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness))
        edges = np.asarray(cv2.dilate(edges, kernel), np.uint8)
    return edges.astype(bool)


def center_view(center: NDArray[np.float32], image: Picture | None = None) -> Picture:
    """Show a center heat map: dark where cold, bright where hot.

    Args:
        center: (H, W) or (1, H, W), heat; values outside 0..1 are clipped.
        image: (H, W, 3), shown faintly in grey below; None: black.

    Returns:
        (H, W, 3) uint8.
    """
    heat = np.nan_to_num(np.asarray(center, np.float32)).reshape(center.shape[-2:]).clip(0, 1)
    hot = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    if image is None:
        return np.ascontiguousarray(hot, np.uint8)
    grey = cv2.cvtColor(_fit(image, heat.shape), cv2.COLOR_RGB2GRAY)[..., None] * np.float32(0.45)
    share = np.sqrt(heat)[..., None]  # the root shows weak centers too
    return np.asarray(((1 - share) * grey + share * hot).round(), np.uint8)


def offset_view(
    offset: NDArray[np.float32],
    mask: NDArray[np.bool_] | None = None,
    *,
    longest_px: float | None = None,
) -> Picture:
    """Show offsets as colours: hue is the direction, strength the length.

    Args:
        offset: (2, H, W), (dy, dx) in pixels.
        mask: (H, W), where offsets mean something, usually the things; elsewhere light grey.
        longest_px: length shown at full strength; None: the longest but the last hundredth.

    Returns:
        (H, W, 3) uint8; zero offsets are white.
    """
    dy, dx = np.nan_to_num(np.asarray(offset, np.float32), posinf=0, neginf=0)
    inside = np.ones(dy.shape, bool) if mask is None else mask
    length = np.hypot(dy, dx)
    if longest_px is None:
        longest_px = float(np.quantile(length[inside], 0.99)) if inside.any() else 1.0
    angle = np.arctan2(dy, dx) % (2 * np.pi)
    hsv = np.empty((*dy.shape, 3), np.float32)
    hsv[..., 0] = np.degrees(angle)
    # The root keeps small instances visible beside large ones.
    hsv[..., 1] = np.sqrt((length / max(longest_px, 1e-6)).clip(0, 1))
    hsv[..., 2] = 1 - 0.15 * hsv[..., 1]
    view = (255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).round().astype(np.uint8)
    view[~inside] = 225
    return view


def legend(
    class_ids: Iterable[int], labels: LabelSpace, width: int, *, size_px: float = 14
) -> Picture:
    """Draw the colours and names of classes; (h, width, 3) uint8."""
    entries = [(labels.classes[i].name, labels.classes[i].color) for i in sorted(class_ids)]
    return captions.legend(entries, width, size_px=size_px)


def training_picture(
    image: Picture,
    truth: PanopticMap,
    prediction: PanopticMap,
    center: NDArray[np.float32],
    offset: NDArray[np.float32],
    labels: LabelSpace,
    *,
    height: int = 256,
) -> Picture:
    """Put input, truth, prediction, heat map and offsets side by side, with captions.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W).
        prediction: (H, W).
        center: (1, h, w) or (h, w), the network's heat map, on any grid.
        offset: (2, h, w), (dy, dx), on any grid; shown on the predicted things only.
        labels: the classes of both maps.
        height: of each panel in pixels.

    Returns:
        (height + caption + legend, about 5 * height * W / H, 3) uint8.
    """
    scale = max(1, round(height / image.shape[0]))
    things = _fit(thing_mask(prediction, labels).astype(np.uint8), offset.shape[1:]) > 0
    panels = {
        "input": image,
        "truth": overlay(image, truth, labels, names=False, scale=scale),
        "prediction": overlay(image, prediction, labels, names=False, scale=scale),
        "center heat map": center_view(center, image),
        "offsets: direction to the center": offset_view(offset, things),
    }
    size = (height, max(1, round(image.shape[1] * height / image.shape[0])))
    parts = [captions.with_caption(_fit(p, size), text) for text, p in panels.items()]
    picture = captions.row(parts)
    present = {s.class_id for s in truth.segments + prediction.segments}
    return captions.column([picture, legend(present, labels, picture.shape[1])], gap_px=0)


def thing_mask(panoptic: PanopticMap, labels: LabelSpace) -> NDArray[np.bool_]:
    """Mark the pixels of all things; (H, W) bool."""
    things = [s.id for s in panoptic.segments if labels.is_thing(s.class_id)]
    return np.isin(panoptic.segment_map, things)


def _check_class(segment: Segment, labels: LabelSpace) -> None:
    if not 0 <= segment.class_id < labels.num_classes:
        raise ValueError(
            f"Segment {segment.id} has class_id {segment.class_id}, but label space "
            f"{labels.name!r} ends at {labels.num_classes - 1}. Pass the label space the map was "
            "made with."
        )


def _shade(color: Color, hue: float, lightness: float) -> Color:
    own_hue, own_lightness, saturation = rgb_to_hls(*(c / 255 for c in color))
    if (hue, lightness) == (0.0, 0.0):
        return color
    # Very dark and very bright colours have no room for shades: start from the middle range.
    light = min(max(own_lightness, 0.32), 0.66) + lightness
    red, green, blue = hls_to_rgb((own_hue + hue) % 1, min(max(light, 0.18), 0.86), saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def _thin(segment_map: NDArray[np.int32]) -> NDArray[np.int32]:
    """Take every n-th pixel so that searching places costs the same for any image."""
    step = max(1, max(segment_map.shape) // _LAYOUT_SIDE_PX)
    return segment_map[::step, ::step]


def _neighbours(panoptic: PanopticMap) -> dict[int, set[int]]:
    """Which segments touch, or nearly: up to two pixels apart on the thinned map."""
    thin = _thin(panoptic.segment_map)
    found: dict[int, set[int]] = {}
    for dy, dx in ((0, 1), (1, 0), (1, 1), (0, 3), (3, 0)):
        a, b = thin[dy:, dx:], thin[: thin.shape[0] - dy, : thin.shape[1] - dx]
        differ = (a != b) & (a != VOID) & (b != VOID)
        pairs = np.unique(np.stack([a[differ], b[differ]]), axis=1)
        for one, other in pairs.T.tolist():
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
    return found


def _line_px(picture: Picture) -> float:
    return float(np.sqrt(picture.shape[0] * picture.shape[1])) / 450


def _fit(image: Picture, size: tuple[int, ...]) -> Picture:
    if image.shape[:2] == tuple(size):
        return image
    resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _names(panoptic: PanopticMap, labels: LabelSpace, scale: int) -> list[captions.Name]:
    """What to write: class and score of each segment, largest first, crowds left out."""
    per_class = Counter(s.class_id for s in panoptic.segments)
    few = [s for s in panoptic.segments if per_class[s.class_id] <= MOST_NAMES]
    thin = _thin(panoptic.segment_map)
    names = []
    for segment in sorted(few, key=lambda s: (-s.area_px, s.id)):
        text = labels.classes[segment.class_id].name
        if segment.score is not None:
            text += f" {100 * min(segment.score, 1):.0f}%"  # heat may exceed 1
        mask = thin == segment.id
        if mask.any():
            names.append(captions.Name(text, mask, segment.area_px * scale**2))
    return names
