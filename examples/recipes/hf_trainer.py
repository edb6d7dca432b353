"""The Trainer of Hugging Face: `compute_loss_func`, gradient accumulation, labels of -100.

    python examples/recipes/hf_trainer.py

A text is about several topics, and of some topics it is not known whether it is about them. A tiny
BERT is made on the spot from a config; nothing is downloaded.
"""

from __future__ import annotations

import sys
import tempfile
import zlib

import manual_topics
import numpy as np

try:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
except ImportError:
    sys.exit("This recipe needs transformers: pip install torch transformers accelerate")

from mlc_losses import known, metrics, zlpr

LENGTH, VOCABULARY = 64, 3000


def trainer_loss(outputs, labels, num_items_in_batch=None):
    """The loss of one step's share of a batch.

    `num_items_in_batch` counts the labels of the whole batch that are not -100, over all
    accumulated steps and all processes: B x L if every label is known. The sum over it is
    therefore a mean over known labels; times L, it is the mean over examples.
    """
    where = known(labels)
    values = zlpr(outputs.logits, labels, where=where)
    count = where.sum() if num_items_in_batch is None else num_items_in_batch
    return values.sum() * labels.shape[-1] / torch.as_tensor(count).clamp(min=1)


def load() -> tuple[list[dict], list[dict]]:
    """Rows to train on, of which a tenth of the labels is unknown, and rows to test on."""
    texts, targets = manual_topics.load()
    rng = np.random.default_rng(0)
    rows = []
    for text, labels in zip(texts, targets, strict=True):
        ids = [zlib.crc32(word.encode()) % VOCABULARY for word in manual_topics.words(text)]
        ids = torch.tensor(ids[:LENGTH] + [0] * (LENGTH - len(ids)))
        rows.append({"input_ids": ids, "labels": torch.from_numpy(labels)})
    test = len(rows) // 5
    for row in rows[test:]:
        row["labels"][torch.from_numpy(rng.random(len(row["labels"])) < 0.1)] = -100
    return rows[test:], rows[:test]


def network(num_labels: int) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        num_labels=num_labels,
        max_position_embeddings=LENGTH,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceClassification(config)


def train(rows: list[dict], *, batch_size: int, accumulate: int, **settings) -> Trainer:
    """Batches of `batch_size * accumulate` texts, `batch_size` of them at a time."""
    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulate,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **settings,
    )
    model = network(len(rows[0]["labels"]))
    trainer = Trainer(model, arguments, train_dataset=rows, compute_loss_func=trainer_loss)
    trainer.train()
    return trainer


def main() -> None:
    train_rows, test_rows = load()
    trainer = train(train_rows, batch_size=16, accumulate=2, num_train_epochs=8, learning_rate=3e-3)
    found = trainer.predict(test_rows)
    share = metrics.precision_at_k(found.predictions, found.label_ids, 1)
    print(f"test loss {found.metrics['test_loss']:.3f}; the first topic is right in {share:.0%}")


if __name__ == "__main__":
    main()
