# /// script
# dependencies = ["nox>=2025.11.12"]
# ///
"""Sessions: what a change must pass, what takes longer, and what makes the site.

`nox` runs those with a star in `nox -l`; any other runs by `nox -s NAME`. Arguments after `--` go
to pytest: `nox -s quick -- -k zlpr`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.11.12"  # `requires`
# PyTorch's small CPU build is found through pip's own settings, which uv does not read
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PYPROJECT = nox.project.load_toml("pyproject.toml")
BACKENDS = ["numpy", "array-api-strict", "torch", "jax"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# what imports JAX or PyTorch has no examples of its own
NO_DOCTESTS = [f"--ignore-glob=*{name}.py" for name in ("_jax", "jax_*", "_torch", "torch_*")]
# tests on arrays; the examples have a session of their own
LIBRARY = ["tests", "--ignore=tests/examples"]
WORKERS = ["-n", "auto", "--dist", "loadgroup"]
# one thread for each worker: more would fight over the cores
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


def install_backends(session: nox.Session) -> None:
    """All array libraries in one environment."""
    session.install(*group("torch-cpu"))  # before anything that would bring a larger build of it
    session.install("-e", ".[jax]", *group("tests"), *group("strict"))


def pytest(session: nox.Session, backend: str, *arguments: str, **env: str) -> None:
    """Run pytest with one array library, in the session's environment or the shared one."""
    shared = session.env_dir.parent / "environment"
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    python = "python" if session.python else str(shared / scripts / "python")
    env = {"ARRAY_BACKEND": backend, **ONE_THREAD, **env}
    session.run(python, "-m", "pytest", *arguments, "--durations=10", env=env)


# tests of the library -----------------------------------------------------------------------------


@nox.session(default=False)
def environment(session: nox.Session) -> None:
    """The environment that the sessions for tests share; they make it where it is missing."""
    install_backends(session)


@nox.session(venv_backend="none", requires=["environment"])
def tests(session: nox.Session) -> None:
    """Every promise on all four array libraries, but for what other sessions compile."""
    for backend in BACKENDS:
        chosen = [*WORKERS, "-m", "not devices and not modes and not scale", *LIBRARY]
        pytest(session, backend, *chosen, *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def quick(session: nox.Session) -> None:
    """The tests of a loss in under a minute, on NumPy, JAX and PyTorch: -- -k zlpr"""
    if not session.posargs:
        session.error("say which tests: nox -s quick -- -k zlpr")
    for backend in ("numpy", "jax", "torch"):
        pytest(session, backend, *WORKERS, "tests/losses/test_losses.py", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def properties(session: nox.Session) -> None:
    """The property tests in depth: with ten times the examples."""
    for backend in BACKENDS:
        chosen = [*WORKERS, "-m", "hypothesis", *LIBRARY]
        pytest(session, backend, *chosen, *session.posargs, PROPERTY_DEPTH="10")


@nox.session(venv_backend="none", requires=["environment"], default=False)
def devices(session: nox.Session) -> None:
    """Losses over simulated devices, on JAX, and over two processes, on JAX and PyTorch."""
    for backend in ("jax", "torch"):
        pytest(session, backend, *WORKERS, "-m", "devices", "tests/scale", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def scale(session: nox.Session) -> None:
    """A loss on a linear layer of many labels, block by block, on JAX."""
    pytest(session, "jax", *WORKERS, "-m", "scale", "tests/scale", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def modes(session: nox.Session) -> None:
    """Under the compilers and transformations of PyTorch and JAX; half precision on JAX."""
    for backend in ("torch", "jax"):
        pytest(session, backend, *WORKERS, "-m", "modes", *LIBRARY, *session.posargs)


@nox.session(python=PYTHONS, default=False)
def pythons(session: nox.Session) -> None:
    """Every promise on each Python that is found; the newer ones bring the newest JAX."""
    install_backends(session)
    for backend in BACKENDS:
        pytest(session, backend, *WORKERS, *LIBRARY, *session.posargs)


@nox.session(python="3.13", default=False)
def newest(session: nox.Session) -> None:
    """The newest JAX, which wants a newer Python: identities, targets, ranking."""
    session.install("-e", ".[jax]", *group("tests"))
    part = [f"tests/losses/test_{name}.py" for name in ("identities", "ranking")]
    pytest(session, "jax", *WORKERS, *part, "tests/test_targets.py", *session.posargs)


# examples -----------------------------------------------------------------------------------------


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """The main job: train with zlpr and with binary cross-entropy, and compare them."""
    session.install("-e", ".[examples]")
    session.run("python", "-m", "examples.train", *session.posargs)


@nox.session(python="3.11", default=False)
def examples(session: nox.Session) -> None:
    """Every example end to end at reduced size, its tests, and the notebooks."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[studies]", *group("tests"), *group("notebooks"))
    # those of `recipes` need libraries of their own
    chosen = [*WORKERS, "tests/examples", "--ignore=tests/examples/recipes"]
    chosen += ["tests/site/test_pages.py"]
    pytest(session, "jax", *chosen, *session.posargs, NOTEBOOKS="required")
    session.run("python", "-m", "examples.train", "--epochs", "2")
    session.run("python", "-m", "examples.numpy_check")
    session.run("python", "-m", "examples.optax_loop", "--epochs", "2")
    session.run("python", "-m", "examples.torch_loop", "--epochs", "2")


@nox.session(python="3.11", default=False)
def recipes(session: nox.Session) -> None:
    """The programs for other libraries, and the adapters: beside the same numbers by NumPy."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[jax]", *group("tests"), *group("recipes"))
    session.run("pytest", "--doctest-modules", "mlc_losses/adapters", env={"KERAS_BACKEND": "jax"})
    for backend in ("jax", "torch"):
        session.run("pytest", "tests/adapters", env={"ARRAY_BACKEND": backend, **ONE_THREAD})
    programs = ["tests/examples/recipes", "--durations=10", *session.posargs]
    session.run("pytest", *programs, env={"ARRAY_BACKEND": "numpy", **ONE_THREAD})


# style, docstrings, packaging ---------------------------------------------------------------------


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
    # scale/ needs JAX; its examples are run by the tests on JAX. adapters/ is run by `recipes`
    ignored = [*NO_DOCTESTS, "--ignore=mlc_losses/scale", "--ignore=mlc_losses/adapters"]
    session.run("pytest", "--doctest-modules", "mlc_losses", *ignored, *session.posargs)


@nox.session(reuse_venv=False)
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


# the site, and speed ------------------------------------------------------------------------------


def site_tools(session: nox.Session) -> dict[str, str]:
    """Install what makes the site; the environment for it."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[examples]", *group("docs"))
    # MkDocs 1 is pinned: what the theme says of its future is no warning of this site
    return {"NO_MKDOCS_2_WARNING": "1"}


@nox.session(python="3.11", default=False)
def docs(session: nox.Session) -> None:
    """Run every Python block of README and site, build it strictly, check it in a browser.

    The site is in build/site. Without Chromium on the PATH its checks are skipped, unless
    CI_BROWSER=1 asks for one.
    """
    env = site_tools(session)
    pages = ["README.md", *map(str, sorted(Path("docs").glob("**/*.md")))]
    session.run("python", "-m", "pytest", "-p", "docs.site.page_blocks", *pages)
    ignored = [*NO_DOCTESTS, "--ignore=mlc_losses/adapters"]
    session.run("pytest", "--doctest-modules", "mlc_losses", *ignored)
    session.run("mkdocs", "build", "--strict", env=env)
    session.run("pytest", "docs/site", "--durations=10", *session.posargs)


@nox.session(python="3.11", default=False)
def serve(session: nox.Session) -> None:
    """Show the site on this machine; pages written by hand follow when they change."""
    session.run("mkdocs", "serve", "--dirty", *session.posargs, env=site_tools(session))


@nox.session(python="3.11", default=False)
def benchmarks(session: nox.Session) -> None:
    """Speed against peers in one run; fails where a bar of docs/design.md is missed."""
    session.install(*group("torch-cpu"))
    session.install("-e", ".[jax]", *group("benchmarks"))
    # the package itself needs torchvision; the module of its loss, loaded alone, does not
    session.install("--no-deps", "timm==1.0.31")
    session.run("pytest", "benchmarks", *session.posargs)


if __name__ == "__main__":
    nox.main()
