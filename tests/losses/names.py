"""Which public names are losses, and which of them the list of cases holds."""

from __future__ import annotations

import mlc_losses as ml

# what stands beside the losses of its family
NOT_LOSSES = {
    "Hierarchy",
    "LabelPowerset",
    "average_k_pseudo_labels",
    "average_k_threshold",
    "balanced_pos_weights",
    "effective_number_weights",
    "enqueue",
    "init_queue",
    "inverse_frequency_weights",
    "jaccard_weights",
    "ldam_margins",
    "logit_adjust",
    "order_labels",
    "overlap_weights",
    "queue_mask",
    "valid_anchors",
}
# they take no logits and targets [..., L] to give [...]; their own files hold them to the promises
OTHER_CALL_SHAPES = {
    "contrastive",
    "label_powerset",
    "label_sequence",
    "label_set_sequence",
    "sigmoid_f1",
    "soft_f1",
    "tversky",
}
LOSSES = {
    name
    for name in ml.__all__
    if getattr(getattr(ml, name), "__module__", "").startswith("mlc_losses.losses.")
} - NOT_LOSSES
