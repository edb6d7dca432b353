from examples.studies.phenotypes.study import app

app()
