"""A text encoder for sentence-transformers, trained by `mulsupcon` on texts of several topics.

    python examples/recipes/text_encoder.py

Texts that share a topic are brought together. The encoder is made on the spot, one vector per word
and their mean; nothing is downloaded. Put any `SentenceTransformer` in its place.
"""

from __future__ import annotations

import sys
import tempfile

import manual_topics
import numpy as np

try:
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
except ImportError:
    sys.exit("This recipe needs: pip install torch sentence-transformers datasets accelerate")

from mlc_losses import masked_mean, mulsupcon, valid_anchors


class MulSupCon(torch.nn.Module):
    """As sentence-transformers calls a loss: features of each column of texts, and the labels."""

    def __init__(self, model: SentenceTransformer, temperature: float = 0.1) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, columns: list[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        embeddings = self.model(columns[0])["sentence_embedding"]
        values = mulsupcon(embeddings, labels, temperature=self.temperature)
        # a text that shares no topic with another of its batch has no positive
        return masked_mean(values, valid_anchors(labels))


def encoder(texts: list[str], dimension: int = 64) -> SentenceTransformer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=3000, special_tokens=["[UNK]"])
    tokenizer.train_from_iterator(texts, trainer)
    torch.manual_seed(0)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=dimension)])


def train(texts: list[str], targets: np.ndarray, **settings) -> SentenceTransformer:
    model = encoder(texts)
    arguments = Arguments(
        tempfile.mkdtemp(),
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    # a column named `label` is the target, here multi-hot
    rows = Dataset.from_dict({"text": texts, "label": targets.tolist()})
    SentenceTransformerTrainer(model, arguments, train_dataset=rows, loss=MulSupCon(model)).train()
    return model


def share_of_neighbours(model: SentenceTransformer, texts, targets, new_texts, new_targets):
    """How often a new text has a topic of the text that is most similar to it."""
    similar = model.similarity(model.encode(new_texts), model.encode(texts)).argmax(dim=1)
    return (targets[similar.numpy()] * new_targets).any(axis=1).mean()


def main() -> None:
    texts, targets = manual_topics.load()
    rows, new = slice(200, None), slice(200)
    parts = texts[rows], targets[rows], texts[new], targets[new]
    before = share_of_neighbours(encoder(texts[rows]), *parts)
    settings = {"num_train_epochs": 15, "per_device_train_batch_size": 64, "learning_rate": 0.02}
    model = train(*parts[:2], **settings)
    after = share_of_neighbours(model, *parts)
    print(
        f"new texts whose neighbour has a topic of theirs: {before:.0%} before, {after:.0%} after"
    )


if __name__ == "__main__":
    main()
