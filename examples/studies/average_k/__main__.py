from examples.studies.average_k.study import app

app()
