"""Data sets: one call for MedMNIST, the embedded phantoms and a person's own images."""

from lib.data.base import SPLITS, DataError, DataSet, Split, Task
from lib.data.decode import resample
from lib.data.describe import DataInfo, check_dataset, describe_dataset
from lib.data.folds import cap_classes, choose_fold, cut_for_run
from lib.data.load import load_dataset

__all__ = [
    "SPLITS",
    "DataError",
    "DataInfo",
    "DataSet",
    "Split",
    "Task",
    "cap_classes",
    "check_dataset",
    "choose_fold",
    "cut_for_run",
    "describe_dataset",
    "load_dataset",
    "resample",
]
