"""Training: optimizers, schedules, batches and the loop over them, for parameters by name of whatever model."""

from .averaging import ASGD
from .batching import Batch, ShuffledBatches, TextBatches
from .history import History
from .optimizers import SGD, AdaGrad, Adam, AdamW, Optimizer, RMSprop, clip_grad_norm, grad_norm
from .schedules import InverseSquareRoot, LinearWarmup, PlateauDecay, Schedule, StepDecay
from .trainer import Trainer

__all__ = [
    "Optimizer",
    "SGD",
    "ASGD",
    "AdaGrad",
    "RMSprop",
    "Adam",
    "AdamW",
    "grad_norm",
    "clip_grad_norm",
    "Schedule",
    "StepDecay",
    "PlateauDecay",
    "LinearWarmup",
    "InverseSquareRoot",
    "Batch",
    "ShuffledBatches",
    "TextBatches",
    "Trainer",
    "History",
]
