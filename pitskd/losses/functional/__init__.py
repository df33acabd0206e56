"""Every loss as a pure function of tensors: student first, a mean over the batch, the teacher detached inside."""

from pitskd.losses.functional.attention import (
    attention_transfer,
    gradient_attention,
    input_gradient,
    self_attention,
    temporal_attention,
)
from pitskd.losses.functional.features import (
    activation_boundary,
    boundary_distance,
    exploration,
    factor_transfer,
    hint,
    inheritance,
    weight_matching,
)
from pitskd.losses.functional.labels import (
    entropy_regularized,
    label_smoothing,
    virtual_teacher,
)
from pitskd.losses.functional.maps import (
    matched,
)
from pitskd.losses.functional.quantiles import (
    pinball,
)
from pitskd.losses.functional.relations import (
    fsp,
    neuron_selectivity,
    relational_angle,
    relational_distance,
)
from pitskd.losses.functional.response import (
    kd,
    logit_regression,
    mutual,
    soft_cross_entropy,
    soft_targets,
    trust_weights,
)
from pitskd.losses.functional.spectra import (
    singular_values,
    singular_vectors,
)

__all__ = [
    "activation_boundary",
    "attention_transfer",
    "boundary_distance",
    "entropy_regularized",
    "exploration",
    "factor_transfer",
    "fsp",
    "gradient_attention",
    "hint",
    "inheritance",
    "input_gradient",
    "kd",
    "label_smoothing",
    "logit_regression",
    "matched",
    "mutual",
    "neuron_selectivity",
    "pinball",
    "relational_angle",
    "relational_distance",
    "self_attention",
    "singular_values",
    "singular_vectors",
    "soft_cross_entropy",
    "soft_targets",
    "temporal_attention",
    "trust_weights",
    "virtual_teacher",
    "weight_matching",
]
