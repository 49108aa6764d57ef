"""What choosing a checkpoint on the test split shows: a table, and sentences with its price."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lib.evaluation.selection import RULES, Course, Rule
from lib.findings.finetuning import name_classifier
from lib.names import METRIC_NAMES, name_labels

NAMES: dict[Rule, str] = {
    "kept": "validation AUROC, as here: the latest within a standard error of the best",
    "validation": "validation, its maximum",
    "last": "none: the last epoch of the first rate",
    "test": "TEST, its maximum (the wrong protocol)",
}


def name_course(course: Course) -> str:
    """A training as printed: `SimCLR, novel, finetuned`; `…, frozen: a head by minibatches`."""
    return name_classifier(course.method, course.augment, course.protocol)


def selection_table(courses: Sequence[Course], metric: str) -> pd.DataFrame:
    """Test scores by the rule that chose the check; metric: what the rules go by."""
    rows = {}
    for course in courses:
        for rule in RULES:
            lr, epoch = course.checks[course.chosen[metric, rule]]
            key = (name_course(course), name_labels(course.labels), NAMES[rule])
            rows[key] = {
                "learning rate": f"{lr:g}",
                "epoch": f"{epoch}",
                METRIC_NAMES[metric]: f"{course.test(metric, rule):.3f}",
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["training", "labels", "chosen by"])
    return table


def price_table(courses: Sequence[Course], metric: str) -> pd.DataFrame:
    """What choosing on test adds to the score, in points, and what of it is luck."""
    rows = {
        (name_course(c), name_labels(c.labels)): {
            "checks to choose from": str(len(c.checks)),
            "test instead of validation's best": points(c.overstated(metric)),
            "test instead of kept, as here": points(
                c.test(metric, "test") - c.test(metric, "kept")
            ),
            "optimism, on half of test": points(c.optimism(metric)),
            "on images not chosen by": points(c.on_other_half(metric)),
        }
        for c in courses
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["training", "labels"])
    return table


def points(value: float) -> str:
    """A difference in hundredths, with its sign: `+1.4`."""
    return f"{100 * value:+.1f}"


def say_selection(courses: Sequence[Course], metric: str) -> str:
    """What the wrong protocol would have reported, and whether the order of methods changes."""
    name = METRIC_NAMES[metric]
    lines = []
    for c in courses:
        right, wrong = c.test(metric, "validation"), c.test(metric, "test")
        gain, change = c.on_other_half(metric), points(-c.optimism(metric))
        better = "better" if gain > 0.0005 else "worse" if gain < -0.0005 else "no better"
        lines.append(
            f"- {name_course(c)}, {name_labels(c.labels)}: {name} {right:.3f} chosen on "
            f"validation, {wrong:.3f} chosen on test: {points(wrong - right)} points. Chosen on "
            f"half of the test images, a check scores {change} points on the other half, where it "
            f"is {better} than the one that validation chose ({points(gain)})."
        )
    return "\n".join([*lines, "", say_order(courses, metric)]).strip()


def say_order(courses: Sequence[Course], metric: str) -> str:
    """Whether the best training is another one by the wrong protocol, budget by budget."""
    changed, budgets = [], list(dict.fromkeys(c.labels for c in courses))
    for labels in budgets:
        here = [c for c in courses if c.labels == labels]
        best = {rule: max(here, key=lambda c: c.test(metric, rule)) for rule in RULES}
        if best["test"] is not best["validation"]:
            changed.append(
                f"With {name_labels(labels)} the best training is "
                f"{name_course(best['validation'])} by validation, "
                f"{name_course(best['test'])} by test."
            )
    if len(courses) == len(budgets):
        return ""
    return " ".join(changed) or "Which training is best does not change, at any budget."


def headline(courses: Sequence[Course], metric: str) -> str:
    """One line for the study's index."""
    worst = max(courses, key=lambda c: c.overstated(metric))
    return (
        f"choosing on test overstates {METRIC_NAMES[metric]} by up to "
        f"{points(worst.overstated(metric)).lstrip('+')} points ({name_course(worst)}, "
        f"{name_labels(worst.labels)})"
    )
