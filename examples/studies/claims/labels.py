"""Claims on several labels per example: losses, label sets as classes and as sequences."""

from __future__ import annotations

from examples.studies.claims.rule import Bars, Claim, pairs
from examples.studies.claims.runs import powerset_cost
from examples.studies.which_loss.data_sets import MAIN

SU = "[Su et al. 2022](https://arxiv.org/abs/2208.02955)"
NAM = (
    "[Nam et al. 2017](https://papers.nips.cc/paper/2017/hash/"
    "2eb5657d37f474e4c4cf01e4882b8962-Abstract.html)"
)
TSAI = "[Tsai & Lee 2020](https://arxiv.org/abs/1909.03434)"
TSOUMAKAS = "[Tsoumakas & Vlahavas 2007](https://doi.org/10.1007/978-3-540-74958-5_38)"

SMALL = ("emotions", "scene", "yeast")
BCE = "binary_cross_entropy"
# a cost that is less than a tenth higher is called equal: repeated timings differ by as much
CHEAPER = 1.1

CLAIMS = (
    Claim(
        "zlpr against binary cross-entropy at threshold 0",
        "A loss that compares the labels of an example with each other, `zlpr`, takes their "
        "dependence into account and so predicts label sets better than one binary "
        "cross-entropy per label. Here both are decided at 0, as they are trained.",
        SU,
        "which_loss",
        pairs("zlpr", BCE, ("subset accuracy at 0", "samples-F1 at 0"), MAIN),
    ),
    Claim(
        "zlpr against binary cross-entropy with a tuned threshold",
        "The same claim, with one threshold for all labels tuned on validation rows for either "
        "loss.",
        SU,
        "which_loss",
        pairs("zlpr", BCE, ("subset accuracy", "samples-F1"), MAIN),
    ),
    Claim(
        "zlpr against losses that only rank",
        "Where the number of labels is not known, `zlpr` decides better than other losses that "
        "rank relevant labels above the rest.",
        SU,
        "which_loss",
        pairs(
            "zlpr",
            ("lsep", "pairwise_hinge", "multilabel_softmax"),
            ("subset accuracy", "samples-F1"),
            MAIN,
        ),
    ),
    Claim(
        "zlpr against a ranking loss over labels and examples",
        "The same claim, against `two_way`, which ranks the labels of each example and the "
        "examples of each label, so that one threshold can serve all examples.",
        SU,
        "which_loss",
        pairs("zlpr", "two_way", ("subset accuracy", "samples-F1"), MAIN),
    ),
    Claim(
        "Binary cross-entropy is hard to beat",
        "Asked which loss to take for several labels, most answer: binary cross-entropy for each "
        "label. It should do better than a softmax over the labels, and than losses made to "
        "replace it.",
        "common advice; no paper",
        "which_loss",
        pairs(
            BCE,
            ("multilabel_softmax", "focal", "asymmetric", "two_way", "zlpr"),
            ("micro-F1", "LRAP"),
            MAIN,
        ),
    ),
    Claim(
        "Label powerset costs more",
        "Predicting label by label, `zlpr` is cheaper in time and memory than a class for each "
        f"label set. The bar: the powerset costs at least {CHEAPER} times as much.",
        SU,
        "powerset",
        (
            Bars("time of an epoch", powerset_cost("epoch seconds"), CHEAPER, unit="x"),
            Bars("memory in training", powerset_cost("training bytes"), CHEAPER, unit="x"),
            Bars("time of a prediction", powerset_cost("prediction seconds"), CHEAPER, unit="x"),
        ),
    ),
    Claim(
        "Label powerset gets whole sets right",
        "With one class for each label set a model learns which labels go together, and gets more "
        "sets entirely right than with one logit per label; tested beside `zlpr`.",
        TSOUMAKAS,
        "powerset",
        pairs(
            "powerset, likeliest set",
            "zlpr",
            "subset accuracy",
            SMALL,
        ),
    ),
    Claim(
        "zlpr gets single labels right",
        "The other side of the two claims before: what `zlpr` saves it does not pay for in single "
        "labels; tested as better than the powerset's likeliest set.",
        "a question of ours",
        "powerset",
        pairs(
            "zlpr",
            "powerset, likeliest set",
            ("Hamming loss", "micro-F1", "ranking loss"),
            SMALL,
        ),
    ),
    Claim(
        "Decoding labels one by one gets whole sets right",
        "A recurrent network that emits the labels one after another gets more sets entirely right "
        "than one logit per label; tested beside `zlpr` on the same encoder.",
        NAM,
        "sequence",
        pairs("label_sequence", "zlpr", "subset accuracy", SMALL),
    ),
    Claim(
        "Decoding needs no order",
        "Trained without an order of the labels, the decoder does better than with a fixed one.",
        TSAI,
        "sequence",
        pairs(
            "label_set_sequence",
            "label_sequence",
            ("subset accuracy", "micro-F1"),
            SMALL,
        ),
    ),
)
