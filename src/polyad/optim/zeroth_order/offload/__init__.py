"""Zeroth-order fine-tuning of models that do not fit on the device: blocks visit it in turn, once a step.

`ZO2Trainer` does what `MeZO` does, to the bit, on a list of blocks whose parameters lie in host memory or in a mapped
file. Parts: `layout` and `wire` (a block as bytes), `memory`, `lanes` and `pipeline` (how it travels), `random_states`
(which numbers belong to it), `timeline` (what it took, and what it should take), `saving`, `trainer`.

Liangyu Wang et al., 'ZO2: scalable zeroth-order fine-tuning for extremely large language models with limited GPU
memory', 2025, arXiv:2503.12668.
"""

from polyad.optim.zeroth_order.offload.timeline import BlockCost, Forecast, Span, Timeline, simulate
from polyad.optim.zeroth_order.offload.trainer import HOST_DTYPES, ZO2Trainer

__all__ = ["HOST_DTYPES", "BlockCost", "Forecast", "Span", "Timeline", "ZO2Trainer", "simulate"]
