"""The classifier, trained for real: scikit-learn takes a tenth of a second for most of these."""

import json
from typing import Any, get_args

import pytest

from app.catalogue import find_type
from app.tasks import model_tasks
from app.tasks.model_tasks import HYPERPARAMETERS, Dataset, Model, make_estimator, train_classifier
from app.testing import TaskRunner, run_task

PLAIN = {dict, list, str, int, float, bool, type(None)}


def kinds(value: Any) -> set[type]:
    """The exact types: numpy's float64 would pass for a float."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {type(value)}.union(*(kinds(part) for part in inside))


class TestResult:
    @pytest.mark.parametrize("dataset", get_args(Dataset))
    def test_every_data_set_is_learnt_well(self, dataset: str) -> None:
        result = train_classifier(dataset)
        assert result["accuracy"] > 0.9
        assert result["cross_validation"]["mean"] > 0.9

    @pytest.mark.parametrize("model", get_args(Model))
    def test_every_model_learns_and_gives_plain_json(self, model: str) -> None:
        few = {"n_estimators": 10} if "n_estimators" in HYPERPARAMETERS[model].model_fields else {}
        result = train_classifier("wine", model, parameters=few)
        assert result["accuracy"] > 0.8
        assert kinds(result) <= PLAIN
        assert json.loads(json.dumps(result, allow_nan=False)) == result

    def test_the_figures_agree_with_each_other(self) -> None:
        result = train_classifier("digits", folds=3, test_size=0.2)
        matrix, sizes = result["confusion_matrix"]["matrix"], result["sizes"]
        assert sizes == {"samples": 1797, "features": 64, "training": 1437, "held_out": 360}
        assert result["classes"] == result["confusion_matrix"]["labels"] == [str(digit) for digit in range(10)]
        assert sum(map(sum, matrix)) == 360
        assert result["accuracy"] == pytest.approx(sum(matrix[n][n] for n in range(10)) / 360, abs=1e-6)
        for number, metrics in enumerate(result["per_class"]):
            hits, predicted = matrix[number][number], sum(row[number] for row in matrix)
            assert metrics["support"] == sum(matrix[number])
            assert metrics["recall"] == pytest.approx(hits / metrics["support"], abs=1e-6)
            assert metrics["precision"] == pytest.approx(hits / predicted, abs=1e-6)
        scores = result["cross_validation"]
        assert len(scores["folds"]) == 3
        assert scores["mean"] == pytest.approx(sum(scores["folds"]) / 3, abs=1e-6)

    def test_a_class_that_is_never_predicted_has_precision_0_and_no_nan(self) -> None:
        result = train_classifier("iris", "decision_tree", parameters={"max_depth": 1})
        assert 0 in [metrics["precision"] for metrics in result["per_class"]]
        json.dumps(result, allow_nan=False)

    def test_the_same_random_state_gives_the_same_numbers_and_another_one_others(self) -> None:
        first, again, other = (
            train_classifier("wine", "random_forest", random_state=state, parameters={"n_estimators": 5})
            for state in (7, 7, 8)
        )
        assert first | {"seconds": 0} == again | {"seconds": 0}
        assert first["cross_validation"] != other["cross_validation"]

    def test_warnings_are_in_the_result_once_with_their_count(self) -> None:
        result = train_classifier("breast_cancer", folds=3, parameters={"max_iter": 1})
        (warning,) = result["warnings"]
        assert warning["category"] == "ConvergenceWarning"
        assert "max_iter" in warning["message"]
        assert warning["count"] == 4  # three folds and the final fit


class TestParameters:
    def test_they_reach_the_estimator_and_the_result(self) -> None:
        shallow = train_classifier("digits", "decision_tree", parameters={"max_depth": 1})
        deep = train_classifier("digits", "decision_tree", parameters={"max_depth": 20})
        assert shallow["parameters"]["max_depth"] == 1
        assert shallow["accuracy"] < 0.3
        assert deep["accuracy"] > 0.8

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"n_trees": 5}, r"parameters of random_forest: n_trees is unknown\. Accepted: n_estimators, "),
            ({"n_estimators": 10**9}, "n_estimators: input should be less than or equal to 1000"),
            ({"n_estimators": "100"}, "n_estimators: input should be a valid integer"),
            ({"n_estimators": True}, "n_estimators: input should be a valid integer"),
            ({"criterion": "luck"}, "criterion: input should be 'gini'"),
            ({"n_jobs": 64}, "n_jobs is unknown"),
        ],
    )
    def test_an_unknown_or_wrong_one_is_named(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            train_classifier("iris", "random_forest", parameters=given)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"dataset": "titanic"}, "dataset must be one of iris, wine, breast_cancer, digits, not 'titanic'"),
            ({"model": "oracle"}, "model must be one of logistic_regression, .*, not 'oracle'"),
            ({"dataset": "iris", "folds": 1}, "n_splits"),
            ({"dataset": "iris", "test_size": 2.0}, "test_size"),
        ],
    )
    def test_the_body_refuses_what_delay_does_not_check(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            train_classifier(**arguments)

    def test_the_catalogue_lists_the_choices_and_bounds(self) -> None:
        properties = find_type(train_classifier.name).parameters["properties"]
        assert properties["dataset"]["enum"] == list(get_args(Dataset))
        assert properties["model"]["enum"] == list(get_args(Model))
        assert (properties["folds"]["minimum"], properties["folds"]["maximum"]) == (2, 20)

    def test_the_description_names_every_hyperparameter(self) -> None:
        described = find_type(train_classifier.name).description
        for model, accepted in HYPERPARAMETERS.items():
            assert model in described
            assert all(f"`{name}`" in described for name in accepted.model_fields)


class TestProgress:
    def test_each_fold_reports_its_accuracy(self) -> None:
        run = run_task(train_classifier, "iris", folds=3)
        folds = [detail for detail in run.details if "fold" in detail]
        assert [detail["fold"] for detail in folds] == [1, 2, 3]
        assert [detail["accuracy"] for detail in folds] == run.result["cross_validation"]["folds"]
        assert run.percents == [0, 30, 60, 90, 90]

    def test_a_cancellation_ends_it_between_two_folds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fitted: list[str] = []
        monkeypatch.setattr(model_tasks, "make_estimator", lambda *a: fitted.append(a[0]) or make_estimator(*a))
        assert TaskRunner(cancel_after=3).run(train_classifier, "iris", folds=5).status == "revoked"
        assert len(fitted) == 2


class TestProcess:
    def test_training_keeps_to_one_core(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threadpoolctl = pytest.importorskip("threadpoolctl")
        seen: list[int] = []
        evaluate = model_tasks._evaluate

        def look(*args: Any) -> Any:
            seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info())
            return evaluate(*args)

        monkeypatch.setattr(model_tasks, "_evaluate", look)
        train_classifier("iris")
        assert set(seen) == {1}
