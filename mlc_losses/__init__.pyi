from . import metrics as metrics
from .decide.conformal import (
    conformal_threshold as conformal_threshold,
)
from .decide.expected_f import (
    predict_expected_f as predict_expected_f,
)
from .decide.sets import (
    predict_average_k as predict_average_k,
)
from .decide.sets import (
    predict_threshold as predict_threshold,
)
from .decide.sets import (
    predict_top_k as predict_top_k,
)
from .decide.temperature import (
    fit_temperature as fit_temperature,
)
from .decide.thresholds import (
    tune_thresholds as tune_thresholds,
)
from .losses.assume_negative import (
    assume_negative as assume_negative,
)
from .losses.assume_negative import (
    assume_negative_smoothed as assume_negative_smoothed,
)
from .losses.assume_negative import (
    weak_assume_negative as weak_assume_negative,
)
from .losses.asymmetric import (
    asymmetric as asymmetric,
)
from .losses.average_k import (
    average_k_pseudo_labels as average_k_pseudo_labels,
)
from .losses.average_k import (
    average_k_threshold as average_k_threshold,
)
from .losses.average_k import (
    average_k_two_head as average_k_two_head,
)
from .losses.binary import (
    binary_cross_entropy as binary_cross_entropy,
)
from .losses.binary import (
    multilabel_soft_margin as multilabel_soft_margin,
)
from .losses.contrastive.key_queue import (
    enqueue as enqueue,
)
from .losses.contrastive.key_queue import (
    init_queue as init_queue,
)
from .losses.contrastive.key_queue import (
    queue_mask as queue_mask,
)
from .losses.contrastive.metric_learning import (
    lifted_structure as lifted_structure,
)
from .losses.contrastive.metric_learning import (
    n_pair as n_pair,
)
from .losses.contrastive.pair_weights import (
    jaccard_weights as jaccard_weights,
)
from .losses.contrastive.pair_weights import (
    overlap_weights as overlap_weights,
)
from .losses.contrastive.pair_weights import (
    valid_anchors as valid_anchors,
)
from .losses.contrastive.prototypes import (
    msc as msc,
)
from .losses.contrastive.prototypes import (
    mscrg as mscrg,
)
from .losses.contrastive.prototypes import (
    prototype_contrastive as prototype_contrastive,
)
from .losses.contrastive.supervised import (
    contrastive as contrastive,
)
from .losses.contrastive.supervised import (
    mulsupcon as mulsupcon,
)
from .losses.contrastive.supervised import (
    supcon as supcon,
)
from .losses.distribution_balanced import (
    distribution_balanced as distribution_balanced,
)
from .losses.focal import (
    focal as focal,
)
from .losses.focal import (
    hill as hill,
)
from .losses.focal import (
    poly as poly,
)
from .losses.hierarchy import (
    Hierarchy as Hierarchy,
)
from .losses.hierarchy import (
    max_constraint as max_constraint,
)
from .losses.imbalance import (
    balanced_pos_weights as balanced_pos_weights,
)
from .losses.imbalance import (
    effective_number_weights as effective_number_weights,
)
from .losses.imbalance import (
    inverse_frequency_weights as inverse_frequency_weights,
)
from .losses.imbalance import (
    ldam_margins as ldam_margins,
)
from .losses.imbalance import (
    logit_adjust as logit_adjust,
)
from .losses.label_ranking import (
    auc_margin as auc_margin,
)
from .losses.label_ranking import (
    smooth_average_precision as smooth_average_precision,
)
from .losses.overlap import (
    sigmoid_f1 as sigmoid_f1,
)
from .losses.overlap import (
    soft_f1 as soft_f1,
)
from .losses.overlap import (
    tversky as tversky,
)
from .losses.partial import (
    entropy_maximization as entropy_maximization,
)
from .losses.partial import (
    splc as splc,
)
from .losses.partial_batch import (
    expected_positive as expected_positive,
)
from .losses.partial_batch import (
    large_loss as large_loss,
)
from .losses.partial_batch import (
    role as role,
)
from .losses.powerset import (
    LabelPowerset as LabelPowerset,
)
from .losses.powerset import (
    label_powerset as label_powerset,
)
from .losses.ranking import (
    bp_mll as bp_mll,
)
from .losses.ranking import (
    calibrated_ranking as calibrated_ranking,
)
from .losses.ranking import (
    lsep as lsep,
)
from .losses.ranking_hinges import (
    multilabel_margin as multilabel_margin,
)
from .losses.ranking_hinges import (
    pairwise_hinge as pairwise_hinge,
)
from .losses.ranking_hinges import (
    warp as warp,
)
from .losses.ranking_sets import (
    circle as circle,
)
from .losses.ranking_sets import (
    distributional_ranking as distributional_ranking,
)
from .losses.ranking_sets import (
    two_way as two_way,
)
from .losses.sequence import (
    label_sequence as label_sequence,
)
from .losses.sequence import (
    label_set_sequence as label_set_sequence,
)
from .losses.sequence import (
    order_labels as order_labels,
)
from .losses.smooth_top_k import (
    smooth_top_k_hinge as smooth_top_k_hinge,
)
from .losses.softmax import (
    ldam as ldam,
)
from .losses.softmax import (
    softmax_cross_entropy as softmax_cross_entropy,
)
from .losses.softmax import (
    softmax_focal as softmax_focal,
)
from .losses.softmax_sets import (
    multilabel_softmax as multilabel_softmax,
)
from .losses.top_k import (
    noised_top_k_hinge as noised_top_k_hinge,
)
from .losses.top_k import (
    top_k_hinge as top_k_hinge,
)
from .losses.zlpr import (
    r_drop as r_drop,
)
from .losses.zlpr import (
    zlpr as zlpr,
)
from .losses.zlpr import (
    zlpr_kl as zlpr_kl,
)
from .perturbed.operator import (
    perturbed_kth_largest as perturbed_kth_largest,
)
from .perturbed.operator import (
    perturbed_top_k_mask as perturbed_top_k_mask,
)
from .perturbed.operator import (
    perturbed_top_k_sum as perturbed_top_k_sum,
)
from .scale.label_blocks import (
    label_block_loss as label_block_loss,
)
from .scale.linear import (
    linear_loss as linear_loss,
)
from .scale.predict import (
    predict_linear_top_k as predict_linear_top_k,
)
from .scale.sharded import (
    sharded as sharded,
)
from .targets import (
    check_targets as check_targets,
)
from .targets import (
    known as known,
)
from .targets import (
    label_ids as label_ids,
)
from .targets import (
    masked_mean as masked_mean,
)
from .targets import (
    multi_hot as multi_hot,
)
from .targets import (
    smooth_targets as smooth_targets,
)
