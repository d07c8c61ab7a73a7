"""Every kind of fault the doctor knows: what it does to training and to PQ, and what helps.

A fault is an error if training or evaluation stops at it or gives a wrong number; a warning if it
costs quality; a note if it is only good to know.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        title: what it is, in a few words.
        severity: see above.
        training: what it does to training.
        quality: what it does to PQ.
        remedy: what to do about it.
        repair: what `--fix` does; empty: nothing.
    """

    title: str
    severity: Severity
    training: str
    quality: str
    remedy: str
    repair: str = ""


@dataclass(frozen=True)
class Finding:
    """One fault in one place.

    Attributes:
        kind: name in `FAULTS`.
        split: such as "train".
        where: file, or list and entry.
        what: a sentence: what was expected, what came.
        image_id: the image's name; empty if it is about no single image.
        index: its place in the split; -1 if it has none.
        segment_ids: numbers in the label image that it is about, at most a dozen.
        count: how many segments, pairs or files.
        other: split and place of another image that it is about, too.
    """

    kind: str
    split: str
    where: str
    what: str
    image_id: str = ""
    index: int = -1
    segment_ids: tuple[int, ...] = ()
    count: int = 1
    other: tuple[str, int] | None = None

    @property
    def severity(self) -> Severity:
        """Of its kind."""
        return FAULTS[self.kind].severity


_STOPS = "Training stops when this image comes up."
_NOT_EVALUATED = "Evaluation stops at this image."
_LEFT_OUT = "The image is left out."

FAULTS: dict[str, Fault] = {
    "cannot-open": Fault(
        "the split cannot be opened",
        "error",
        "Training does not start.",
        "Nothing can be evaluated.",
        "Correct what the message says, then check again: the images behind it were not looked at.",
    ),
    "faulty-list": Fault(
        "an entry of the list is missing a field, doubled, or of the wrong kind",
        "error",
        "Training does not start.",
        "Nothing can be evaluated.",
        "Correct the entry in the list.",
        "The entry is left out.",
    ),
    "missing-picture": Fault(
        "labels without picture", "error", _STOPS, _NOT_EVALUATED,
        "Restore the picture, or remove the labels.", _LEFT_OUT,
    ),
    "missing-labels": Fault(
        "the label file is missing", "error", _STOPS, _NOT_EVALUATED,
        "Restore the label file, or remove the image from the list.", _LEFT_OUT,
    ),
    "unlabelled-picture": Fault(
        "a picture without labels",
        "warning",
        "The picture is not used (Cityscapes and Mapillary Vistas: the split is refused).",
        "The picture is not counted.",
        "Label it, or remove it.",
        _LEFT_OUT,
    ),
    "unlisted-file": Fault(
        "a label file that the list does not name",
        "warning",
        "The image is not used.",
        "The image is not counted; a server may refuse the set.",
        "Add it to the list, or delete the file.",
        "The file is left out.",
    ),
    "unreadable-picture": Fault(
        "a picture that is no picture, or cut short", "error", _STOPS, _NOT_EVALUATED,
        "Copy or download the file again.", _LEFT_OUT,
    ),
    "unreadable-labels": Fault(
        "a label file that is cut short, or of the wrong kind", "error", _STOPS, _NOT_EVALUATED,
        "Copy or download the file again; label PNGs hold numbers, not colours of a drawing.",
        _LEFT_OUT,
    ),
    "faulty-labels": Fault(
        "labels that contradict themselves", "error", _STOPS, _NOT_EVALUATED,
        "Correct what the message names.", _LEFT_OUT,
    ),
    "size-mismatch": Fault(
        "picture and labels differ in size",
        "error",
        _STOPS + " Stretched to fit, every label would lie beside its object.",
        _NOT_EVALUATED,
        "Check that both belong together and that the picture is not meant to be turned.",
        _LEFT_OUT,
    ),
    "listed-size": Fault(
        "the list states another size than the files have",
        "warning",
        "None here: sizes are taken from the files.",
        "Other tools may scale the results wrongly.",
        "Correct width and height in the list.",
        "Sizes are written anew.",
    ),
    "id-not-listed": Fault(
        "segment ids in the PNG that the list does not have",
        "error",
        _STOPS,
        "The official evaluation stops: every id must be listed.",
        "List the segments, or make their pixels 0 (void).",
        "Their pixels become void.",
    ),
    "segment-without-pixels": Fault(
        "listed segments without a pixel in the PNG",
        "error",
        _STOPS,
        "The official evaluation stops; elsewhere each is a miss that no network can avoid.",
        "Remove the segment from the list, or restore its pixels.",
        "The segment is left out.",
    ),
    "unknown-class": Fault(
        "labels of a class that does not exist",
        "error",
        _STOPS,
        _NOT_EVALUATED,
        "Add the class to the categories, or correct the number.",
        "Their pixels become void.",
    ),
    "wrong-divisor": Fault(
        "ids made with another label divisor than the format's",
        "error",
        "Classes and instances are read wrongly, often without any message: the network learns "
        "nonsense.",
        "The truth is wrong, so is every PQ measured on it.",
        "Write class * divisor + instance with the divisor that the format asks for.",
        "Numbers are translated to the format's divisor.",
    ),
    "wrong-area": Fault(
        "listed areas that are not the segments'",
        "error",
        "None here: areas are counted from the pixels.",
        "The official evaluation takes the truth's area from the list, so every IoU with the "
        "segment is wrong.",
        "Count areas anew.",
        "Areas are counted anew.",
    ),
    "wrong-box": Fault(
        "listed boxes that are not the segments'",
        "warning",
        "None here: boxes are not read. Tools that train on boxes learn wrong ones.",
        "None; box AP would be wrong.",
        "Measure boxes anew.",
        "Boxes are measured anew.",
    ),
    "stuff-twice": Fault(
        "several segments of one stuff class in an image",
        "warning",
        "None: they are learned as one.",
        "At most one of them can be matched, the others are misses.",
        "Give all pixels of a stuff class in an image one segment.",
        "They are joined.",
    ),
    "leak": Fault(
        "the same picture in two splits",
        "error",
        "None that shows: that is the trouble.",
        "PQ is measured on pictures that were learned by heart, and too high.",
        "Remove the picture from training. Look for its neighbours, too: frames of one film, tiles "
        "of one scan.",
        "The picture is left out of training.",
    ),
    "duplicate": Fault(
        "the same picture twice in a split",
        "warning",
        "It weighs twice; with different labels it teaches contradictions.",
        "It counts twice.",
        "Keep the one with the better labels.",
        "The later one is left out.",
    ),
    "classes-differ": Fault(
        "the splits do not have the same classes",
        "error",
        "Training does not start.",
        "Numbers of classes mean different things in training and evaluation.",
        "Give all lists the same categories.",
    ),
    "untrained-class": Fault(
        "a class occurs in validation, but not in training",
        "warning",
        "The network never sees it.",
        "Its PQ is 0, which pulls the mean down.",
        "Split the images anew, label more, or drop the class.",
    ),
    "only-crowd": Fault(
        "a thing class that has nothing but crowd regions",
        "warning",
        "No center and no offset of it is learned. Were instance ids saved with 8 bits?",
        "It is not evaluated: crowds are left out.",
        "Tell its instances apart, or make it stuff.",
    ),
    "never-used-class": Fault(
        "a class that never occurs",
        "note",
        "None, but for a channel of the semantic head that learns to be silent.",
        "It does not count in the mean.",
        "Fine in a part of a larger set; else check the spelling of the label.",
    ),
    "not-validated-class": Fault(
        "a class occurs in training, but not in validation",
        "note",
        "None.",
        "Nobody knows how well it is found.",
        "Split the images anew if it matters.",
    ),
    "tiny-instance": Fault(
        "things smaller than one pixel of the network's maps",
        "warning",
        "Each draws a full center heat that its few pixels cannot explain; extra weight of small "
        "instances makes it worse.",
        "They are hardly ever found: each is a miss.",
        "Look at some: slips of the pen are to be removed; for true small objects train and "
        "predict on enlarged images (augment.min_scale, inference.scale).",
    ),
    "torn-instance": Fault(
        "things in parts that lie far apart, or in very many",
        "warning",
        "The center lies between the parts, often on another object, and offsets grow long.",
        "Parts far from the center are given to whatever lies nearer: low IoU or a miss.",
        "Often two objects share one id: number them apart. Parts cut by something in front are "
        "fine.",
    ),
    "overlap": Fault(
        "instances that claim the same pixels",
        "warning",
        "Shared pixels go to one of them by a rule (the smaller, unless data.overlap says "
        "otherwise).",
        "The rule is part of the truth: PQ differs between rules.",
        "Choose the rule that fits your data; draw the disputed places with `data compare`.",
        "The result of the rule is written.",
    ),
    "hidden-instance": Fault(
        "instances that lose all their pixels to others",
        "warning",
        "They are not learned.",
        "They are not counted.",
        "Mostly an object annotated twice: remove one. Else put its class above others "
        "(data.overlap_priority).",
        "They are left out.",
    ),
    "empty-truth": Fault(
        "an image that is void from edge to edge",
        "warning",
        "It teaches nothing and costs the time of an image.",
        "Nothing in it counts.",
        "Label it, or remove it.",
        _LEFT_OUT,
    ),
    "blank-picture": Fault(
        "a picture of one single colour",
        "warning",
        "Its labels cannot be learned from it.",
        "Its segments are misses.",
        "Restore the picture, or remove it.",
        _LEFT_OUT,
    ),
    "many-things": Fault(
        "more things in an image than the default number of centers",
        "note",
        "None.",
        "Only grouping.top_k centers are kept, 200 by default: the others are misses.",
        "Set grouping.top_k above the largest number of things.",
    ),
    "missing-split": Fault(
        "a split is not there",
        "note",
        "Training needs train and val.",
        "Evaluation needs val, or --split.",
        "None if that is meant; else see docs/datasets.md for where it belongs.",
    ),
}  # fmt: skip
"""By name."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
