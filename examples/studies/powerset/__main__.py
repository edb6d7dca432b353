from examples.studies.powerset.study import app

app()
