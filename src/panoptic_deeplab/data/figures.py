"""What stands in drawn street scenes: cars, buses, people, cyclists, signs, trees.

Each function paints one figure with a `Brush`, in metres from its foot, with colors and shape
drawn from a NumPy generator. Sizes follow the real things, heads and wheels a little larger.
"""

import numpy as np

from panoptic_deeplab.data.canvas import Brush, Color

PAINTS: tuple[Color, ...] = (
    (200, 48, 44), (38, 84, 160), (236, 236, 232), (44, 46, 52), (150, 156, 164),
    (232, 176, 40), (40, 120, 84), (108, 44, 72), (92, 158, 190), (214, 120, 56),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (186, 52, 62), (48, 74, 128), (240, 200, 84), (64, 120, 92), (236, 232, 222),
    (52, 52, 60), (132, 82, 140), (224, 122, 62), (96, 148, 176), (150, 112, 82),
)  # fmt: skip
SKINS: tuple[Color, ...] = ((244, 208, 178), (222, 176, 138), (176, 122, 84), (112, 74, 52))
HAIRS: tuple[Color, ...] = ((44, 34, 30), (92, 60, 36), (196, 156, 92), (122, 118, 116))
LEAVES: tuple[Color, ...] = ((74, 124, 58), (92, 140, 66), (54, 104, 62), (128, 148, 62))

GLASS: Color = (70, 92, 110)
TIRE: Color = (34, 34, 38)
RIM: Color = (176, 178, 184)
HEADLIGHT: Color = (255, 246, 214)
TAILLIGHT: Color = (222, 34, 34)


def pick(generator: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    """One of the colors, a little lighter or darker."""
    return tone(colors[int(generator.integers(len(colors)))], generator.uniform(0.85, 1.1))


def tone(color: Color, factor: float) -> Color:
    """The color lighter or darker by a factor."""
    red, green, blue = (min(255, round(c * factor)) for c in color)
    return red, green, blue


def car_side(brush: Brush, generator: np.random.Generator) -> None:
    """A car from the side, looking right, 4.2 x 1.5 m."""
    paint = pick(generator, PAINTS)
    back, front = generator.uniform(-2.0, -1.3), generator.uniform(0.95, 1.25)  # of the cabin
    roof = generator.uniform(1.4, 1.6)
    body = [(-2.1, 0.3), (-2.1, 0.8), (-1.95, 0.92), (1.3, 0.92), (2.0, 0.78), (2.1, 0.55),
            (2.1, 0.3)]  # fmt: skip
    top = [(back, 0.9), (back + 0.35, roof), (front - 0.65, roof), (front, 0.9)]
    brush.polygon(body, paint)
    brush.polygon(top, paint)
    brush.box(-2.1, 0.3, 2.1, 0.42, tone(paint, 0.6))
    glass = [(back + 0.15, 0.92), (back + 0.42, roof - 0.1), (front - 0.7, roof - 0.1),
             (front - 0.13, 0.92)]  # fmt: skip
    brush.polygon(glass, GLASS)
    brush.limb((-0.25, 0.9), (-0.25, roof - 0.05), 0.12, paint)
    brush.box(1.9, 0.6, 2.1, 0.74, HEADLIGHT, glows=brush.canvas.light.lit > 0.2)
    brush.box(-2.1, 0.62, -1.95, 0.8, TAILLIGHT)
    for x in (-1.3, 1.3):
        brush.disc(x, 0.34, 0.36, TIRE)
        brush.disc(x, 0.34, 0.2, RIM)


def car_end(brush: Brush, generator: np.random.Generator, *, is_front: bool) -> None:
    """A car from the front or the back, 1.8 x 1.5 m and 4 m long."""
    paint = pick(generator, PAINTS)
    roof = generator.uniform(1.4, 1.65)
    body = [(-0.86, 0.22), (-0.92, 0.5), (-0.86, 0.9), (0.86, 0.9), (0.92, 0.5), (0.86, 0.22)]
    cabin = [(-0.78, 0.88), (-0.6, roof), (0.6, roof), (0.78, 0.88)]
    brush.extrude([(-0.8, 0.05), (0.8, 0.05), (0.8, 0.4), (-0.8, 0.4)], 3.4, TIRE)
    brush.extrude([(x * 0.98, y) for x, y in body], 3.8, tone(paint, 0.7))
    brush.extrude([(x * 0.95, y * 0.99) for x, y in cabin], 2.2, tone(GLASS, 0.8))
    for x in (-0.68, 0.68):
        brush.box(x - 0.14, 0.0, x + 0.14, 0.4, TIRE)
    brush.polygon(body, paint)
    brush.polygon(cabin, paint)
    brush.polygon([(-0.68, 0.92), (-0.53, roof - 0.1), (0.53, roof - 0.1), (0.68, 0.92)], GLASS)
    brush.box(-0.88, 0.22, 0.88, 0.4, tone(paint, 0.65))
    lamp = HEADLIGHT if is_front else TAILLIGHT
    for x in (-0.7, 0.7):
        brush.box(x - 0.16, 0.58, x + 0.16, 0.76, lamp, glows=brush.canvas.light.lit > 0.2)
    if is_front:
        brush.box(-0.4, 0.48, 0.4, 0.64, tone(paint, 0.4))
    brush.box(-0.26, 0.42, 0.26, 0.54, (238, 236, 220))


def bus_side(brush: Brush, generator: np.random.Generator) -> None:
    """A bus from the side, looking right, 8 x 3 m."""
    paint, stripe = pick(generator, PAINTS), pick(generator, PAINTS)
    brush.polygon(
        [(-4, 0.3), (-4, 2.9), (-3.85, 3.05), (3.75, 3.05), (4, 2.8), (4.05, 1.2), (4.05, 0.3)],
        paint,
    )
    brush.box(-4, 0.95, 4.05, 1.2, stripe)
    brush.box(-4, 0.3, 4.05, 0.45, tone(paint, 0.55))
    for x in np.arange(-3.8, 3.0, 1.14):
        brush.box(x, 1.5, x + 0.98, 2.6, GLASS)
    brush.polygon([(3.25, 1.3), (3.25, 2.65), (3.9, 2.65), (4.0, 1.3)], tone(GLASS, 1.15))
    brush.box(1.9, 0.4, 2.9, 2.6, tone(GLASS, 0.85))
    brush.limb((2.4, 0.4), (2.4, 2.6), 0.08, tone(paint, 0.8))
    brush.box(3.85, 0.55, 4.05, 0.8, HEADLIGHT, glows=brush.canvas.light.lit > 0.2)
    for x in (-2.4, 1.3):
        brush.disc(x, 0.46, 0.5, TIRE)
        brush.disc(x, 0.46, 0.26, RIM)


def bus_end(brush: Brush, generator: np.random.Generator, *, is_front: bool) -> None:
    """A bus from the front or the back, 2.5 x 3 m and 8 m long."""
    paint, stripe = pick(generator, PAINTS), pick(generator, PAINTS)
    face = [(-1.25, 0.3), (-1.25, 2.8), (-1.1, 3.05), (1.1, 3.05), (1.25, 2.8), (1.25, 0.3)]
    brush.extrude([(-1.1, 0.0), (1.1, 0.0), (1.1, 0.5), (-1.1, 0.5)], 7.0, TIRE)
    brush.extrude(face, 8.0, tone(paint, 0.7))
    brush.extrude([(-1.25, 1.5), (1.25, 1.5), (1.25, 2.6), (-1.25, 2.6)], 7.0, tone(GLASS, 0.75))
    for x in (-0.95, 0.95):
        brush.box(x - 0.18, 0.0, x + 0.18, 0.5, TIRE)
    brush.polygon(face, paint)
    brush.box(-1.12, 1.35 if is_front else 1.7, 1.12, 2.5, GLASS)
    brush.box(-1.25, 0.75, 1.25, 1.0, stripe)
    brush.box(-1.25, 0.3, 1.25, 0.5, tone(paint, 0.55))
    brush.box(-0.7, 2.62, 0.7, 2.9, (250, 190, 70), glows=is_front)
    lamp = HEADLIGHT if is_front else TAILLIGHT
    for x in (-1.0, 1.0):
        brush.box(x - 0.17, 0.52, x + 0.17, 0.74, lamp, glows=brush.canvas.light.lit > 0.2)


def person(brush: Brush, generator: np.random.Generator) -> None:
    """Somebody walking, 1.75 m tall."""
    top, legs = pick(generator, CLOTHES), tone(pick(generator, CLOTHES), 0.7)
    skin, hair = pick(generator, SKINS), pick(generator, HAIRS)
    stride, swing = generator.uniform(0.08, 0.34), generator.uniform(0.05, 0.3)
    for foot, shade in ((-stride, 0.8), (stride, 1.0)):
        brush.limb((foot * 0.2, 0.9), (foot, 0.06), 0.2, tone(legs, shade))
        brush.box(foot - 0.1, 0.0, foot + 0.16, 0.1, (46, 40, 40))
    brush.limb((0.0, 1.38), (-swing, 0.86), 0.13, tone(top, 0.75))
    dress = generator.uniform(0.6, 0.95) if generator.random() < 0.35 else 0.84
    width = 0.2 if dress > 0.83 else 0.27
    brush.polygon(
        [(-width, dress), (-0.25, 1.36), (-0.16, 1.48), (0.16, 1.48), (0.25, 1.36), (width, dress)],
        top,
    )
    if generator.random() < 0.3:
        brush.box(-0.42, 0.98, -0.2, 1.4, pick(generator, CLOTHES))  # rucksack
    brush.limb((0.04, 1.38), (swing, 0.86), 0.13, tone(top, 1.15))
    brush.disc(swing, 0.84, 0.07, skin)
    brush.disc(-0.02, 1.64, 0.16, hair)
    brush.disc(0.03, 1.6, 0.13, skin)


def cyclist_side(brush: Brush, generator: np.random.Generator) -> None:
    """Somebody on a bicycle from the side, riding right."""
    frame, top = pick(generator, PAINTS), pick(generator, CLOTHES)
    legs, skin = tone(pick(generator, CLOTHES), 0.7), pick(generator, SKINS)
    for x in (-0.55, 0.55):
        brush.disc(x, 0.36, 0.38, TIRE)
        brush.disc(x, 0.36, 0.29, (190, 192, 196))
        brush.disc(x, 0.36, 0.07, TIRE)
    for start, end in (
        ((-0.55, 0.36), (-0.2, 0.9)), ((-0.2, 0.85), (0.0, 0.36)), ((0.0, 0.36), (0.42, 0.85)),
        ((-0.2, 0.82), (0.42, 0.85)), ((0.55, 0.36), (0.38, 1.05)),
    ):  # fmt: skip
        brush.limb(start, end, 0.08, frame)
    knee = (0.22, generator.uniform(0.6, 0.8))
    brush.limb((-0.2, 1.0), knee, 0.21, legs)
    brush.limb(knee, (0.05, 0.22), 0.17, legs)
    brush.box(-0.05, 0.12, 0.2, 0.22, (46, 40, 40))
    brush.polygon([(-0.36, 0.92), (-0.1, 0.9), (0.34, 1.36), (0.2, 1.56), (0.0, 1.5)], top)
    brush.limb((0.2, 1.42), (0.45, 1.06), 0.12, tone(top, 1.15))
    brush.disc(0.34, 1.7, 0.16, pick(generator, PAINTS))  # helmet
    brush.disc(0.38, 1.65, 0.12, skin)


def cyclist_end(brush: Brush, generator: np.random.Generator, *, is_front: bool) -> None:
    """Somebody on a bicycle from the front or the back."""
    top, legs = pick(generator, CLOTHES), tone(pick(generator, CLOTHES), 0.7)
    helmet = pick(generator, PAINTS)
    brush.box(-0.09, 0.0, 0.09, 0.74, TIRE)
    for x in (-0.2, 0.2):
        brush.limb((x, 0.95), (x * 0.9, 0.28 if x < 0 else 0.42), 0.18, legs)
    brush.polygon([(-0.24, 0.88), (-0.28, 1.4), (-0.16, 1.54), (0.16, 1.54), (0.28, 1.4),
                   (0.24, 0.88)], top)  # fmt: skip
    for x in (-1, 1):
        brush.limb((0.25 * x, 1.4), (0.34 * x, 1.0), 0.12, tone(top, 0.85))
    brush.box(-0.38, 0.97, 0.38, 1.04, TIRE)
    brush.disc(0.0, 1.68, 0.16, pick(generator, SKINS) if is_front else helmet)
    brush.polygon([(-0.17, 1.7), (-0.12, 1.84), (0.12, 1.84), (0.17, 1.7)], helmet)


def sign(pole: Brush, plate: Brush, generator: np.random.Generator) -> None:
    """A traffic sign on a pole, 3 m tall; the pole is painted with a brush of its own."""
    up, kind = 2.45, int(generator.integers(5))
    pole.box(-0.05, 0.0, 0.05, up, (132, 136, 140))
    red, white, blue = (206, 36, 40), (244, 242, 238), (36, 92, 180)
    if kind == 0:  # no entry
        plate.disc(0, up, 0.5, red)
        plate.box(-0.34, up - 0.09, 0.34, up + 0.09, white)
    elif kind == 1:  # limit
        plate.disc(0, up, 0.5, red)
        plate.disc(0, up, 0.36, white)
        plate.box(-0.16, up - 0.16, 0.16, up + 0.16, (60, 60, 64))
    elif kind == 2:  # give way, warning
        turned = 1 if generator.random() < 0.5 else -1
        for size, color in ((1.0, red), (0.62, white)):
            corners = [(-0.56, -0.34), (0.56, -0.34), (0, 0.62)]
            plate.polygon([(x * size, up + y * size * turned) for x, y in corners], color)
    elif kind == 3:  # parking, crossing
        plate.box(-0.45, up - 0.45, 0.45, up + 0.45, blue)
        plate.polygon([(-0.22, up - 0.28), (0, up + 0.28), (0.22, up - 0.28)], white)
    else:  # stop
        angles = np.arange(8) * np.pi / 4 + np.pi / 8
        plate.polygon([(0.54 * np.cos(a), up + 0.54 * np.sin(a)) for a in angles], red)
        plate.box(-0.34, up - 0.09, 0.34, up + 0.09, white)


def leafy_tree(brush: Brush, generator: np.random.Generator) -> None:
    """A tree with a round crown, about 5 m tall."""
    green = pick(generator, LEAVES)
    sun = brush.canvas.light.sun
    brush.polygon([(-0.2, 0), (-0.11, 2.4), (0.11, 2.4), (0.2, 0)], (98, 74, 56))
    width, up = generator.uniform(1.0, 1.5), generator.uniform(3.3, 3.9)
    brush.disc(0.0, up - 0.2, 0.95, tone(green, 0.7))
    angles, reach = generator.uniform(0, 2 * np.pi, 16), np.sqrt(generator.uniform(0, 1, 16))
    for i, (angle, far) in enumerate(zip(angles, reach, strict=True)):
        rise = i / 15  # later blobs lie higher, towards the sun, and are lighter and smaller
        x = width * far * np.cos(angle) * (1 - 0.4 * rise) + 0.35 * sun * rise
        y = up + 0.95 * far * np.sin(angle) * (1 - 0.4 * rise) + 0.35 * rise
        brush.disc(x, y, 0.85 - 0.45 * rise, tone(green, 0.7 + 0.5 * rise))


def conifer(brush: Brush, generator: np.random.Generator) -> None:
    """A fir, about 6 m tall."""
    green = tone(pick(generator, LEAVES), 0.75)
    brush.box(-0.14, 0, 0.14, 1.0, (86, 64, 50))
    tiers = 5
    for i in range(tiers):
        low, width = 0.7 + i * 0.95, 1.5 * (1 - i / (tiers + 0.6))
        shape = [(-width, low), (0, low + 1.8), (width, low), (0, low - 0.12)]
        brush.polygon(shape, tone(green, 0.85 + 0.09 * i))
        lit = [(0, low + 1.8), (width * np.sign(brush.canvas.light.sun), low), (0, low - 0.12)]
        brush.polygon(lit, tone(green, 1.0 + 0.09 * i))


def bush(brush: Brush, generator: np.random.Generator) -> None:
    """A bush, about 1.2 m tall."""
    green = pick(generator, LEAVES)
    for i in range(9):
        x, y = generator.uniform(-0.9, 0.9), generator.uniform(0.3, 0.75)
        brush.disc(x, y, 0.5 - 0.02 * i, tone(green, 0.75 + 0.05 * i))
