"""The one training loop: any model, any loss, any number of processes; what is killed goes on to the same bits."""

from polyad.training.batches import Dataset, TensorData
from polyad.training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from polyad.training.loop import TrainingResult, fit

__all__ = [
    "Checkpoint",
    "Dataset",
    "TensorData",
    "TrainingResult",
    "fit",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
]
