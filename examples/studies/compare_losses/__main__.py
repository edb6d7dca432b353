from examples.studies.compare_losses.study import app

app()
