from examples.studies.decisions.study import app

app()
