"""Gradient noise: its two moments, their ratio with an interval, how often to measure, and what others make of them; the
spectrum of its covariance.
"""

from .average import Ema as Ema
from .covariance import covariance_spectrum as covariance_spectrum
from .covariance import curvature_alignment as curvature_alignment
from .covariance import effective_rank as effective_rank
from .covariance import isotropic_participation_ratios as isotropic_participation_ratios
from .covariance import leading_directions as leading_directions
from .covariance import noise_curvature as noise_curvature
from .covariance import numerical_rank as numerical_rank
from .covariance import participation_ratio as participation_ratio
from .covariance import spectral_distance as spectral_distance
from .covariance import subspace_overlap as subspace_overlap
from .moments import Moments as Moments
from .moments import has_batch_norm as has_batch_norm
from .moments import noise_moments as noise_moments
from .planning import measurements_needed as measurements_needed
from .planning import measurements_needed_after as measurements_needed_after
from .scale import DEFINITION as DEFINITION
from .scale import lag_one_alignment as lag_one_alignment
from .scale import noise_scale as noise_scale
from .scale import noise_scale_along as noise_scale_along
from .views import adascale_gain as adascale_gain
from .views import best_learning_rate as best_learning_rate
from .views import cabs_batch_size as cabs_batch_size
from .views import gradient_diversity as gradient_diversity
from .views import half_batch_cosine as half_batch_cosine
from .views import inner_product_test_batch_size as inner_product_test_batch_size
from .views import norm_test_batch_size as norm_test_batch_size
from .views import one_step_improvement as one_step_improvement
from .views import pollux_efficiency as pollux_efficiency
