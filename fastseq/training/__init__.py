"""Training: optimizers and gradient clipping, over parameters by name; neither knows what is being trained."""

from .optimizers import SGD, AdaGrad, Adam, AdamW, Optimizer, RMSprop, clip_grad_norm, grad_norm

__all__ = ["Optimizer", "SGD", "AdaGrad", "RMSprop", "Adam", "AdamW", "grad_norm", "clip_grad_norm"]
