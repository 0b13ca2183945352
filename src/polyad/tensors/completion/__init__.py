"""Tensors of counts of which only a part was seen, and of that part only a share was counted.

True counts N_i ~ Poisson(lambda_i) have low-rank rates lambda = [[U_1..U_d]], U >= 0; every individual is detected with
probability p_i = g_theta(z_i) in (0, 1], an unknown function of attributes z_i (effort, weather, testing rate):

    Y_i | N_i ~ Binomial(N_i, p_i),   so   Y_i ~ Poisson(lambda_i p_i),   seen at entries Omega
    minimise over U >= 0 and theta:   sum_{i in Omega} lambda_i p_i - Y_i log(lambda_i p_i)

by block coordinates: multiplicative (MM) updates of U, which never increase the loss, and Adam on theta; several starts
and early stopping by the deviance of held-out rows (`UnderCountedCompletion`). `poisson_cp` is the fit with p known,
`halrtc` a general low-rank completion to compare with.

**What can be told, and what cannot.** Only lambda p enters the likelihood. The scale of lambda is free unless one of
these holds: `normalize='max'` assumes that some observed entry is fully counted (max p = 1; the data cannot confirm
it); `'anchor'` uses rows whose detection is known; `'surveys'` uses repeated counts of the same individuals; `'none'`
leaves it, and errors are then meaningful after the best scalar only (`best_scale`). If p is a product of one term a
mode, not even the shape of lambda is determined; if p does not depend on the attributes, lambda is known up to p. Fits
look for both and say so in `warnings`.

Source: S. Ibrahim, X. Fu, R. Hutchinson, E. Seo, *Under-Counted Tensor Completion with Neural Incorporation of
Attributes*, ICML 2023, arXiv:2306.03273.

Deviations: the condition by which the paper's theorem fixes the scale is not restated here; the four choices above are
ours, and every number in the claim names its choice. The largest p of the *observed* rows is set to one. Repeated
surveys enter the alternation as independent rows (a composite likelihood); their shared individuals fix the scale
afterwards, by the exact N-mixture likelihood.

When not to use it: detection that depends on the true count itself, or on what no attribute tells; counts far from
Poisson (look at the deviance).
"""

from polyad.tensors.completion.detection import (
    AttributeEncoding,
    DetectionModel,
    LogisticDetection,
    MLPDetection,
    detection_loss,
)
from polyad.tensors.completion.halrtc import HaLRTCFit, halrtc
from polyad.tensors.completion.identifiability import Identifiability, best_scale, separable_share
from polyad.tensors.completion.intervals import Intervals, bootstrap_intervals, laplace_intervals, rate_log_errors
from polyad.tensors.completion.observations import CountObservations
from polyad.tensors.completion.poisson_cp import (
    PoissonCPFit,
    multiplicative_update,
    poisson_cp,
    poisson_deviance,
    poisson_loss,
)
from polyad.tensors.completion.surveys import SurveyScale, closed_population_log_likelihood, survey_scale
from polyad.tensors.completion.undercounted import UnderCountedCompletion, UnderCountedFit

__all__ = [
    "AttributeEncoding",
    "CountObservations",
    "DetectionModel",
    "HaLRTCFit",
    "Identifiability",
    "Intervals",
    "LogisticDetection",
    "MLPDetection",
    "PoissonCPFit",
    "SurveyScale",
    "UnderCountedCompletion",
    "UnderCountedFit",
    "best_scale",
    "bootstrap_intervals",
    "closed_population_log_likelihood",
    "detection_loss",
    "halrtc",
    "laplace_intervals",
    "multiplicative_update",
    "poisson_cp",
    "poisson_deviance",
    "poisson_loss",
    "rate_log_errors",
    "separable_share",
    "survey_scale",
]
