"""Claims on contrastive training, and on very many labels."""

from __future__ import annotations

from examples.studies.claims.rule import Bars, Claim, pairs
from examples.studies.claims.runs import EXTREME_LABELS, of_extreme

AUDIBERT = "[Audibert et al. 2024](https://arxiv.org/abs/2412.00101)"

FEW_LABELS = ("scene, 100 %",)
MANY_LABELS = ("bibtex, 100 %", "reuters21578_modapte90, 100 %")
BCE = "binary_cross_entropy"
CONTRASTIVE = ("supcon", "mulsupcon", "msc", "mscrg")
LIMIT_GIB = 12.0

CLAIMS = (
    Claim(
        "Contrastive training is strong where labels are many",
        "An encoder trained by a supervised contrastive loss, then a linear probe, is strong in "
        "macro-F1 where there are many labels; tested as each of four such losses being better "
        "than the same encoder trained end to end with binary cross-entropy.",
        AUDIBERT,
        "contrastive",
        pairs(CONTRASTIVE, BCE, "macro-F1", MANY_LABELS),
    ),
    Claim(
        "Contrastive training is weak where labels are few",
        "Where there are few labels the contrastive loss struggles; tested as cross-entropy being "
        "better than each of the four.",
        AUDIBERT,
        "contrastive",
        pairs(BCE, CONTRASTIVE, ("macro-F1", "micro-F1"), FEW_LABELS),
    ),
    Claim(
        "Contrastive training is weak in ranking metrics",
        "The contrastive loss struggles with metrics that judge a ranking; tested as cross-entropy "
        "being better than each of the four.",
        AUDIBERT,
        "contrastive",
        pairs(BCE, CONTRASTIVE, ("ranking loss", "mAP"), FEW_LABELS + MANY_LABELS),
    ),
    Claim(
        "Much of the contrastive gain needs no label interactions",
        "The gain comes not only from examples that meet each other by their labels but also from "
        "the form of the loss; tested as `prototype_contrastive`, in which no two examples meet, "
        "being better than losses in which they do.",
        AUDIBERT,
        "contrastive",
        pairs(
            "prototype_contrastive",
            ("supcon", "mulsupcon", "mscrg"),
            "macro-F1",
            FEW_LABELS + MANY_LABELS,
        ),
    ),
    Claim(
        "The regularised gradient helps",
        "A loss whose gradient no longer pushes away positives that are close enough, `mscrg`, "
        "does better than the same loss with the plain gradient, `mscwrg`.",
        AUDIBERT,
        "contrastive",
        pairs("mscrg", "mscwrg", ("macro-F1", "mAP"), FEW_LABELS + MANY_LABELS),
    ),
    Claim(
        "A million labels on an ordinary machine",
        f"A linear layer with {EXTREME_LABELS:,} labels trains by `linear_loss` within "
        f"{LIMIT_GIB:.0f} GiB.",
        "an aim of ours",
        "extreme",
        (
            Bars(
                "peak memory of the process",
                of_extreme({"peak GiB": "whole program"}),
                LIMIT_GIB,
                at_most=True,
                unit=" GiB",
            ),
            Bars("on unseen rows", of_extreme({f"P@{k}": f"P@{k}" for k in (1, 3, 5)})),
        ),
    ),
)
