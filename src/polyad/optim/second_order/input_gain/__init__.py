"""Two-stage training of networks with one hidden layer: output weights exactly, input weights with optimal gains.

One step changes the input weights W along a descent direction, then solves the output weights from their normal
equations. The trainers differ in the direction and in how many gains, found by Gauss-Newton, it is given:

    BP       negative gradient G                           one gain
    HWO      G Rx^-1, G whitened by the features           one gain
    MOLF     G                                             one gain a hidden unit, W <- W + diag(z) G
    OIGBP    G                                             one gain an input,       W <- W + G diag(r)
    OIGHWO   G Rx^-1                                       one gain an input
    LM       all weights at once, Levenberg-Marquardt      none

Source: C. Rane, K. Tyagi, S. Malalur, Y. Shinge, M. Manry, 'Optimal input gain: all you need to supercharge a
feed-forward neural network', 2023, arXiv:2303.17732.

Deviations: gains are halved until the error of the whole network, output weights solved anew, does not rise; after
`halvings` of them the step is given up. Weights start as normal numbers over sqrt(N + 1), without net control. LM
solves the output weights once, at its start.

*When not to use it*: on deeper networks, on losses that are no squares, or where a batch is smaller than the number
of output weights. `MOLF` costs about as much and reached lower training errors in every case of the claim; `LM` goes
far lower still where its multiplications can be spent.
"""

from polyad.optim.second_order.input_gain.directions import GAINS, GainSystem, gain_system, jacobian
from polyad.optim.second_order.input_gain.levenberg import LM
from polyad.optim.second_order.input_gain.network import BypassNetwork, Sweep
from polyad.optim.second_order.input_gain.trainers import BP, HWO, MOLF, OIGBP, OIGHWO, Record, TwoStageTrainer

__all__ = [
    "BP",
    "GAINS",
    "HWO",
    "LM",
    "MOLF",
    "OIGBP",
    "OIGHWO",
    "BypassNetwork",
    "GainSystem",
    "Record",
    "Sweep",
    "TwoStageTrainer",
    "gain_system",
    "jacobian",
]
