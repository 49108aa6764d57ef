"""A model card: what an encoder was made of, what it was measured at, and what it is not for.

The headings follow Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lib.data.embedded import EMBEDDED
from lib.export.files import Difference
from lib.export.portable import ExportError, Taken
from lib.names import METRIC_NAMES, PROTOCOL_NAMES, name_labels, name_scratch, name_source
from lib.study.measurements import label_order, read_summary

SHOWN = ("auroc", "balanced_accuracy", "accuracy", "average_precision", "quadratic_kappa")
NOT_STATED = "not stated; whoever passes the encoder on should state it"
NOT_A_DEVICE = (
    "**This is research code and not a medical device.** It was not tested for use on patients, "
    "it must not be used for diagnosis, and no figure here is a medical claim."
)


@dataclass(frozen=True)
class Files:
    """What was written beside the card, and how well each file agrees with the encoder."""

    onnx: Path | None = None
    torchscript: Path | None = None
    differences: Mapping[str, Difference] | None = None


def write_card(
    taken: Taken, study: Path | None, files: Files, *, source: str = "", licence: str = ""
) -> str:
    """The card in Markdown.

    study: a folder with summary.csv and runs; the runs that started from this encoder give the
    figures. source, licence: of the images, where they are the user's own.
    """
    data = describe_source(taken, source, licence)
    sections = [
        f"# {taken.name}",
        summary(taken),
        NOT_A_DEVICE,
        "## Load it",
        load_snippets(taken, files),
        "## Training data",
        "\n".join(f"- {key}: {value}" for key, value in data.items()),
        "## How it was trained",
        parameters_table(taken),
        "## Measured",
        measured(taken, study),
        "## Intended use and limits",
        limits(taken),
    ]
    return "\n\n".join(sections) + "\n"


def summary(taken: Taken) -> str:
    """What the encoder is, in two sentences."""
    header, e = taken.header, taken.encoder
    channels = "grey" if e.channels == 1 else "RGB"
    method = name_source(str(header.get("method", "")), str(used(taken).get("augment", "")))
    text = f"A {e.architecture} without its classifier, stem `{e.stem}`: {channels} images of "
    text += f"{taken.size} × {taken.size} pixels to {e.feature_dim:,} features. "
    text += f"Trained by {method or 'a method that its file does not name'} on "
    text += f"{dataset_title(taken)}; made by commit `{header.get('commit', 'unknown')}`. "
    return text + f"File: `{taken.file.name}`, SHA-256 {taken.digest}…"


def used(taken: Taken) -> dict[str, Any]:
    """The parameters of the run that made the encoder."""
    return dict(taken.header.get("parameters", {}))


def dataset_title(taken: Taken) -> str:
    """The images as a reader should know them, synthetic ones called that."""
    name = str(taken.header.get("dataset", "")) or "unknown images"
    return EMBEDDED[name].title if name in EMBEDDED else name


def describe_source(taken: Taken, source: str, licence: str) -> dict[str, str]:
    """Where the images come from and what may be done with them."""
    from lib.data import medmnist

    name = str(taken.header.get("dataset", ""))
    trail = [str(t) for t in taken.header.get("trail", ())]
    known = {"data set": dataset_title(taken)}
    if len(trail) > 1:
        known["trained on, in order"] = ", ".join(trail)
    if name in EMBEDDED:
        return known | {"source": "drawn by this project's program: synthetic", "licence": "MIT"}
    if name in medmnist.names():
        facts = medmnist.info()[name]
        counts = ", ".join(f"{n:,} {split}" for split, n in facts["n_samples"].items())
        known |= {
            "images": f"{counts}; trained on the train split",
            "source": f"{facts['python_class']} of {medmnist.SOURCE}",
            "licence": str(facts["license"]),
        }
        if name in medmnist.CAVEATS:
            known["caveat"] = medmnist.CAVEATS[name]
        return known
    return known | {"source": source or NOT_STATED, "licence": licence or NOT_STATED}


def load_snippets(taken: Taken, files: Files) -> str:
    """Five lines for each way to load it."""
    e, size = taken.encoder, taken.size
    shape = f"{e.channels}, {size}, {size}"
    parts = [
        "Images are floats in [0, 1], [B, C, H, W], "
        f"{e.channels} channel(s) of {size} × {size} pixels; normalisation happens inside."
    ]
    preprocess = used(taken).get("preprocess", "none")
    if preprocess != "none":
        parts.append(
            f"The photographs were preprocessed first: `{preprocess}` (`lib/data/{preprocess}.py`)."
        )
    if files.torchscript is not None:
        parts.append(
            "```python\nimport torch\n\n"
            f'encoder = torch.jit.load("{files.torchscript.name}")\n'
            f"images = torch.rand(8, {shape})\n"
            "with torch.inference_mode():\n"
            f"    features = encoder(images)  # [8, {e.feature_dim}]\n```"
        )
    if files.onnx is not None:
        parts.append(
            "```python\nimport numpy as np\nimport onnxruntime\n\n"
            f'encoder = onnxruntime.InferenceSession("{files.onnx.name}")\n'
            f"images = np.random.rand(8, {shape}).astype(np.float32)\n"
            f'[features] = encoder.run(None, {{"images": images}})  # [8, {e.feature_dim}]\n```'
        )
    for kind, difference in (files.differences or {}).items():
        parts.append(f"{kind} against the encoder itself: {difference}.")
    if files.torchscript is None and files.onnx is None:
        parts.append(
            "```python\nfrom lib.models.weights import load_encoder\n\n"
            f'encoder, header = load_encoder("{taken.file.name}")\n```'
        )
    return "\n\n".join(parts)


def parameters_table(taken: Taken) -> str:
    """Every parameter of the run as a table, or that the file has none."""
    params = used(taken)
    if not params:
        return "The file is of another project and says nothing of its making."
    rows = [f"| `{key}` | {value if value != '' else '–'} |" for key, value in params.items()]
    return "\n".join(["| parameter | value |", "|---|---|", *rows])


def measured(taken: Taken, study: Path | None) -> str:
    """Test figures with intervals of runs that started from this encoder, floors beside them."""
    if study is None:
        return "Nothing: no study was given when this card was written (`--study FOLDER`)."
    rows = probing_rows(taken, study)
    if rows.empty:
        return f"No run of the study `{study.name}` started from this encoder."
    lines = [
        f"From the study `{study.name}`, on test images, each scored once; in brackets 95% "
        "bootstrap intervals over test images (over groups where there are any). *Random encoder* "
        "and *raw pixels* are the floors: the same without pretraining.",
        "",
    ]
    metrics = [m for m in SHOWN if m in set(rows["metric"])]
    heads = ["data set", "features", "classifier", "labels", *(METRIC_NAMES[m] for m in metrics)]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    keys = ["dataset", "size", "method", "augment", "protocol", "labels", "seed", "fold"]
    order = label_order(rows["labels"])
    rows = rows.sort_values("labels", key=lambda c: c.map(order.index), kind="stable")
    for key, here in rows.groupby(keys, sort=False):
        dataset, size, method, augment, protocol, labels, _, fold = map(str, key)
        values = {r.metric: figure(r) for r in here.itertuples()}
        place = f"{dataset}, {size} px" + (f", fold {fold}" if fold else "")
        scratch = name_scratch(method, protocol)
        features = scratch or name_source(method, augment)
        trained = "trained whole" if scratch else PROTOCOL_NAMES.get(protocol, protocol)
        cells = [place, features, trained]
        cells += [name_labels(labels) if labels else "–", *(values.get(m, "–") for m in metrics)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(row: Any) -> str:
    """`0.912 (0.890 to 0.931)`, or the value alone."""
    if pd.isna(row.low):
        return f"{row.value:.3f}"
    return f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"


def probing_rows(taken: Taken, study: Path) -> pd.DataFrame:
    """Test rows of summary.csv by runs whose `init` was this encoder."""
    summary_file = study / "summary.csv"
    if not summary_file.is_file():
        raise ExportError(f"--study {study}: has no summary.csv")
    identity = {str(used(taken).get("run", "")), taken.digest} - {""}
    runs = []
    for file in sorted(study.glob("runs/*/params.yaml")):
        params = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if str(params.get("init", "")) in identity:
            runs.append(file.parent.name)
    table = read_summary(summary_file)
    chosen = table["run"].isin(runs) & (table["split"] == "test") & table["metric"].isin(SHOWN)
    return table[chosen & (table["method"] != "")]


def limits(taken: Taken) -> str:
    """What the features may be used for, and why not for more."""
    dataset = dataset_title(taken)
    lines = [
        f"For research: features of images like those of {dataset}, to be probed, finetuned or "
        "searched, with a validation of one's own.",
        "Not for patients: it was not validated for any clinical use.",
        f"Images of another kind, camera, hospital or size than {taken.size} px, or preprocessed "
        "in another way, may give features that mean nothing; nothing warns of them.",
        "Who is in the images (age, sex, origin, disease) decides whom the features serve; the "
        "data set's own documentation says what is known of that.",
        "Intervals hold the training fixed: another seed gives another encoder. The study's index "
        "shows the spread over seeds.",
    ]
    if str(taken.header.get("dataset", "")) in EMBEDDED:
        lines.insert(0, "Trained on synthetic images: it shows that the machinery runs.")
    return "\n".join(f"- {line}" for line in lines)
