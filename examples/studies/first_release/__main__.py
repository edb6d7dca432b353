import typer

from examples.studies.first_release.study import main

typer.run(main)
