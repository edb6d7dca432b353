from examples.studies.contrastive.study import app

app()
