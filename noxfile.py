"""Sessions: tests on each backend, demo, examples, notebooks, lint, doctests, docs and others.

`nox -l` lists them. An interpreter that is not found is skipped.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
# PyTorch's small CPU build is found through pip's own settings, which uv does not read
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "doctests", "build"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
BACKENDS = ["numpy", "array-api-strict", "jax"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# Python 3.11 is where PyTorch's small CPU build is to be had
TESTED = [("3.11", "torch"), *((python, backend) for python in PYTHONS for backend in BACKENDS)]
# what imports JAX or PyTorch has no examples of its own
NO_DOCTESTS = ["--ignore-glob=*jax_*.py", "--ignore-glob=*torch_*.py"]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session
@nox.parametrize(
    "python,backend", TESTED, ids=[f"{backend}-{python}" for python, backend in TESTED]
)
def tests(session: nox.Session, backend: str) -> None:
    """The tests on one array library; arguments after -- go to pytest."""
    if backend == "torch":  # before anything that would bring a larger build of it
        session.install(*group("torch-cpu"))
    session.install("-e", ".[jax]" if backend == "jax" else ".", *group("tests"))
    if backend == "array-api-strict":
        session.install(*group("strict"))
    parallel = ["-n", "auto", "--dist", "loadgroup"]
    session.run("pytest", *parallel, *session.posargs, env={"ARRAY_BACKEND": backend})


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: train with zlpr and with binary cross-entropy, and compare them."""
    session.install("-e", ".[examples]")
    session.run("python", "examples/train.py", *session.posargs)


@nox.session(python="3.11")
def examples(session: nox.Session) -> None:
    """Every example at reduced size, and their tests."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[examples]", *group("tests"))
    found = {*Path("tests").glob("test_*example*.py")} | {
        Path("tests/test_extreme.py"),
        Path("tests/test_one_label.py"),
    }
    tested = [*map(str, sorted(found)), "tests/test_package.py"]
    session.run("pytest", "-n", "auto", *tested, env={"ARRAY_BACKEND": "jax"})
    session.run("python", "examples/train.py", "--epochs", "2")
    session.run("python", "examples/numpy_check.py")
    session.run("python", "examples/torch_loop.py", "--epochs", "2")


@nox.session(python="3.11")
def notebooks(session: nox.Session) -> None:
    """The notebooks of examples/notebooks at reduced size; every library must be there."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[examples]", *group("tests"), *group("notebooks"))
    env = {"ARRAY_BACKEND": "jax", "NOTEBOOKS": "required"}
    session.run("pytest", "tests/test_notebooks.py", *session.posargs, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting and types."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")


@nox.session
def doctests(session: nox.Session) -> None:
    """The examples in the docstrings."""
    session.install("-e", ".", *group("tests"))
    # scale/ needs JAX; its examples are run by the tests on JAX
    ignored = [*NO_DOCTESTS, "--ignore=mlc_losses/scale"]
    session.run("pytest", "--doctest-modules", "mlc_losses", *ignored, *session.posargs)


def site_tools(session: nox.Session) -> dict[str, str]:
    """Install what makes the site; the environment for it."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[examples]", *group("docs"))
    # MkDocs 1 is pinned: what the theme says of its future is no warning of this site
    return {"NO_MKDOCS_2_WARNING": "1"}


@nox.session(python="3.11")
def docs(session: nox.Session) -> None:
    """Run every Python block of README and site, build it strictly, check it in a browser.

    The site is in build/site. Without Chromium on the PATH its checks are skipped, unless
    CI_BROWSER=1 asks for one.
    """
    env = site_tools(session)
    pages = ["README.md", *map(str, sorted(Path("docs").glob("**/*.md")))]
    session.run("pytest", "-p", "page_blocks", *pages, env={"PYTHONPATH": "docs/site"})
    session.run("pytest", "--doctest-modules", "mlc_losses", *NO_DOCTESTS)
    session.run("mkdocs", "build", "--strict", env=env)
    session.run("pytest", "docs/site", *session.posargs)


@nox.session(python="3.11")
def serve(session: nox.Session) -> None:
    """Show the site on this machine; pages written by hand are shown anew when they change."""
    session.run("mkdocs", "serve", "--dirty", *session.posargs, env=site_tools(session))


@nox.session(python="3.11")
def benchmarks(session: nox.Session) -> None:
    """Speed against peers in one run; fails where a bar of docs/design.md is missed."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[jax]", *group("benchmarks"))
    # the package itself needs torchvision; the module of its loss, loaded alone, does not
    session.install("--no-deps", "timm==1.0.31")
    session.run("pytest", "benchmarks", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel, installed in an empty environment, works with its run dependencies alone."""
    session.install("build")
    wheels = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(wheels), silent=True)
    (wheel,) = sorted(wheels.glob("*.whl"))[-1:]
    session.run("python", "-m", "pip", "uninstall", "--yes", "build", silent=True)
    session.install(str(wheel))
    with session.chdir(wheels):
        session.run("python", "-W", "error", "-c", "from mlc_losses import *; print(zlpr, metrics)")
