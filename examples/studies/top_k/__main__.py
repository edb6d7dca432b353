from examples.studies.top_k.study import app

app()
