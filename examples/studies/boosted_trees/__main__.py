from examples.studies.boosted_trees.study import app

app()
