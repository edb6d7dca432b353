"""The claims that the comparisons test, and what they were tested under."""

from __future__ import annotations

from examples.studies.claims import classes as claims_classes
from examples.studies.claims import labels as claims_labels
from examples.studies.claims import scale as claims_scale

CLAIMS = claims_labels.CLAIMS + claims_classes.CLAIMS + claims_scale.CLAIMS
# what every claim of a comparison was tested under; its page says it in full
CONDITIONS = {
    "which_loss": "one hidden layer; each loss searched sixteen settings on each data set and "
    "trained until validation stopped improving; one threshold for all labels tuned on validation "
    'rows; "at 0" is with the threshold 0 instead.',
    "powerset": "one hidden layer, so that the output is most of the cost; times are the least of "
    "several on a shared machine; learning rate and round chosen on validation rows.",
    "sequence": "a small recurrent decoder, greedy decoding, learning rate chosen on validation "
    "rows.",
    "top_k": "one hidden layer and a short training, trained and judged with K = 5; every loss "
    "chose from as many settings by validation accuracy.",
    "speed_top_k": "value and gradient of the loss alone, a batch of 256 rows on a CPU, "
    "each cell in a process of its own.",
    "average_k": "one hidden layer, trained until validation stopped improving, K = 5, all methods "
    "at the same mean set size, each chosen from as many settings by validation accuracy; the "
    "paper's own settings are not known to us.",
    "contrastive": "small encoders and a short training on all training rows; learning rate and "
    "one threshold chosen on validation rows; the study trains large encoders on text and images.",
    "extreme": "one run on generated data whose labels follow Zipf's law, a few steps of Adam.",
}
