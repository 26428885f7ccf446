"""Training, evaluation and use of models on tables, as functions on local files.

`training.train`, `predictions.evaluate` and `predictions.predict` know no database, no Celery and no HTTP. The modules
import scikit-learn, skops, polars and numpy, so a task imports them in its body; `estimators` alone loads none.
"""
