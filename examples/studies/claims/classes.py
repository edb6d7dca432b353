"""Claims on one label per example: K guesses, and K classes on average."""

from __future__ import annotations

from examples.studies.claims.rule import Bars, Claim, pairs
from examples.studies.claims.runs import AMBIGUITY, RARITY, time_ratio

GARCIN = "[Garcin et al. 2022](https://arxiv.org/abs/2202.02193)"
TWO_HEAD = "[Garcin et al. 2025](https://arxiv.org/abs/2303.18118)"

OMNIGLOT, UDHR, CJK = "omniglot_small28", "udhr2_lang_char3hash4096", "cjk_radical214"
BALANCED, TAILED = (OMNIGLOT, UDHR), (f"{OMNIGLOT}_tail", f"{UDHR}_tail", CJK)
AMBIGUOUS = ("locale_names", CJK, OMNIGLOT, UDHR)
CE = "cross-entropy"
SOFTMAX, MULTI_LABEL = "two-head: softmax", "two-head: multi-label"
WEAK = (
    "assume_negative",
    "weak_assume_negative",
    "assume_negative_smoothed",
    "entropy_maximization",
    "splc",
    "large_loss",
    "expected_positive",
    "role",
)
# timings that differ by less than a quarter are called equal
FLAT = 1.25

CLAIMS = (
    Claim(
        "Noised top-K hinge on balanced data",
        "Trained for K guesses, the hinge smoothed by noise reaches a very good accuracy of K "
        "guesses where classes have equally many examples; tested as better than the usual losses.",
        GARCIN,
        "top_k",
        pairs("noised", (CE, "label smoothing", "focal"), "top-5 accuracy", BALANCED),
    ),
    Claim(
        "Noise makes the better top-K hinge",
        "Smoothed by noise, the hinge for K guesses does better than the same hinge as it is, and "
        "than the one smoothed without noise.",
        "a question of ours",
        "top_k",
        pairs("noised", ("calibrated hinge", "smooth hinge"), "top-5 accuracy", BALANCED),
    ),
    Claim(
        "Noised top-K hinge on heavy-tailed data",
        "With margins by class size, the same loss is clearly better than cross-entropy, focal "
        "loss and LDAM in the accuracy of K guesses averaged over classes.",
        GARCIN,
        "top_k",
        pairs(
            "noised, imbalanced", (CE, "focal", "LDAM"), "top-5 accuracy, mean over classes", TAILED
        ),
    ),
    Claim(
        "The time of the noised hinge is flat in K",
        "The time of the noised hinge does not grow with K, and it is well below that of the "
        f"smooth top-K loss. The bars: at most {FLAT} times the time of K = 1, and less than the "
        "smooth loss takes.",
        GARCIN,
        "speed_top_k",
        (
            Bars(
                "10 samples: time over that of k = 1",
                time_ratio("sampled, 10 | L={L} | k={k}", "sampled, 10 | L={L} | k=1"),
                FLAT,
                at_most=True,
                unit="x",
            ),
            Bars(
                "time over that of the smooth loss",
                time_ratio("sampled, 10 | L={L} | k={k}", "smooth | L={L} | k={k}"),
                1.0,
                at_most=True,
                unit="x",
            ),
            Bars(
                "the same of the published formulations",
                time_ratio(
                    "published noised, 10 | L={L} | k={k}", "published smooth | L={L} | k={k}"
                ),
                1.0,
                at_most=True,
                unit="x",
            ),
        ),
    ),
    Claim(
        "Two-head loss against thresholded cross-entropy",
        "For sets of K classes on average, a multi-label head trained on pseudo-labels of a "
        "softmax head does better than thresholding a softmax trained with cross-entropy. Here "
        "the softmax head is thresholded.",
        TWO_HEAD,
        "average_k",
        pairs(SOFTMAX, CE, "accuracy", AMBIGUOUS),
    ),
    Claim(
        "Two-head loss by its multi-label head",
        "The same claim, with the multi-label head thresholded: which of the two the paper means "
        "was not known to us.",
        TWO_HEAD,
        "average_k",
        pairs(MULTI_LABEL, CE, "accuracy", AMBIGUOUS),
    ),
    Claim(
        "Two-head loss against weakly supervised losses",
        "The two-head loss does better than each of eight losses made for labels that are known "
        "in part. Here the softmax head is thresholded.",
        TWO_HEAD,
        "average_k",
        pairs(SOFTMAX, WEAK, "accuracy", AMBIGUOUS),
    ),
    Claim(
        "Two-head loss by its multi-label head against weakly supervised losses",
        "The same claim, with the multi-label head thresholded.",
        TWO_HEAD,
        "average_k",
        pairs(MULTI_LABEL, WEAK, "accuracy", AMBIGUOUS),
    ),
    Claim(
        "Two-head loss gains by ambiguity",
        "What the two-head loss gains over thresholded cross-entropy is more where the right "
        "answer is uncertain; tested with both heads.",
        TWO_HEAD,
        "average_k",
        pairs((SOFTMAX, MULTI_LABEL), CE, AMBIGUITY, ("locale_names",)),
    ),
    Claim(
        "Two-head loss gains by rarity",
        "What the two-head loss gains over thresholded cross-entropy is more on classes with few "
        "examples; tested with both heads.",
        TWO_HEAD,
        "average_k",
        pairs((SOFTMAX, MULTI_LABEL), CE, RARITY, ("locale_names", CJK)),
    ),
)
