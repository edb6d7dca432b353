from examples.studies.sequence.study import app

app()
