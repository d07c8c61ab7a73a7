"""The data doctor: what is wrong with a data set, what that does, and a repaired copy of it."""

from panoptic_deeplab.doctor.examination import check
from panoptic_deeplab.doctor.faults import FAULTS, Finding
from panoptic_deeplab.doctor.report import Report

__all__ = ["FAULTS", "Finding", "Report", "check"]
