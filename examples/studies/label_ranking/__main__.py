from examples.studies.label_ranking.study import app

app()
