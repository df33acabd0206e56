"""What a student learns from its teacher: every loss as a pure function, and classes that configure them."""

from pitskd.losses import functional
from pitskd.losses.attention import (
    AttentionTransfer,
    GradientAttention,
    SelfAttention,
)
from pitskd.losses.base import (
    DistillationLoss,
    ResponseLoss,
    Signals,
)
from pitskd.losses.blocks import (
    BlockImitation,
    WeightMatching,
)
from pitskd.losses.feature import (
    ActivationBoundary,
    FactorTransfer,
    FitNetHint,
    InheritanceExploration,
)
from pitskd.losses.relation import (
    FlowOfSolution,
    NeuronSelectivity,
    RelationalAngle,
    RelationalDistance,
    SingularValues,
    SingularVectors,
)
from pitskd.losses.response import (
    EntropyRegularization,
    LabelSmoothing,
    LogitRegression,
    Pinball,
    SoftCrossEntropy,
    SoftTargets,
    SquaredError,
    TrustedRows,
    VirtualTeacher,
)

__all__ = [
    "ActivationBoundary",
    "AttentionTransfer",
    "BlockImitation",
    "DistillationLoss",
    "EntropyRegularization",
    "FactorTransfer",
    "FitNetHint",
    "FlowOfSolution",
    "GradientAttention",
    "InheritanceExploration",
    "LabelSmoothing",
    "LogitRegression",
    "NeuronSelectivity",
    "Pinball",
    "RelationalAngle",
    "RelationalDistance",
    "ResponseLoss",
    "SelfAttention",
    "Signals",
    "SingularValues",
    "SingularVectors",
    "SoftCrossEntropy",
    "SoftTargets",
    "SquaredError",
    "TrustedRows",
    "VirtualTeacher",
    "WeightMatching",
    "functional",
]
