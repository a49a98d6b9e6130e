"""A diagnosis as files: one self-contained page, and two tables."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from PIL import Image

from ..benchmarks.base import Benchmark, ImagePair, QuestionPair
from .diagnose import Diagnosis
from .verdicts import ADVICE

FILES = ("report.html", "pairs.csv", "groups.csv")
#: Pixels of the longer side of a picture in the page.
THUMB = 160
#: Pairs with pictures in the page; the tables have all.
SHOWN = 400
_PARTS = {"clip": "CLIP's matching", "mllm": "the language model"}


def write(diagnosis: Diagnosis, bench: Benchmark, folder: Path, title: str) -> Path:
    """Write `FILES` into a folder; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    diagnosis.pairs.to_csv(folder / FILES[1], index=False, float_format="%.5g")
    diagnosis.groups.to_csv(folder / FILES[2], index=False, float_format="%.4g")
    path = folder / FILES[0]
    path.write_text(render(diagnosis, bench, title), encoding="utf-8")
    return path


def render(diagnosis: Diagnosis, bench: Benchmark, title: str) -> str:
    """The page: a summary of the groups, what to try, and every pair with its verdicts."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda x: "" if pd.isna(x) else f"{100 * x:.0f}%"
    environment.filters["number"] = lambda x: "" if pd.isna(x) else f"{x:.3g}"
    verdicts = {
        pair_id: dict(zip(rows["part"], rows.to_dict("records"), strict=True))
        for pair_id, rows in diagnosis.pairs.groupby("pair_id", sort=False)
    }
    pairs = [
        {
            "id": pair.pair_id,
            "group": pair.relation,
            "texts": _texts(pair),
            "images": [_thumb(image) for image in pair.images],
            "parts": verdicts[pair.pair_id],
        }
        for pair in bench[:SHOWN]
    ]
    groups = diagnosis.groups.to_dict("records")
    return environment.from_string(_PAGE).render(
        title=title, groups=groups, pairs=pairs, parts=_PARTS, n=len(bench),
        evidence={part: _columns(diagnosis.groups, part) for part in _PARTS},
        advice={g["verdict"]: ADVICE[g["verdict"]] for g in groups},
    )  # fmt: skip


def _columns(groups: pd.DataFrame, part: str) -> list[str]:
    """What is shown of a part's evidence: whatever is not empty, without ends of intervals."""
    rows = groups[groups["part"] == part].dropna(axis=1, how="all")
    head = ("group", "part", "verdict", "confidence", "n_pairs", "advice")
    return [c for c in rows if c not in head and not c.endswith(("_low", "_high"))]


def _texts(pair: ImagePair | QuestionPair) -> list[str]:
    if isinstance(pair, QuestionPair) and pair.question:
        return [pair.question, *pair.options]
    return ["", *pair.captions]


def _thumb(image: Image.Image) -> str:
    image.thumbnail((THUMB, THUMB))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --line: #8886; --mark: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: 0; color: inherit; cursor: pointer; text-decoration: underline dotted; }
td img { display: inline-block; max-width: 7rem; height: auto; border: 1px solid var(--line); }
.verdict { font-weight: 600; white-space: nowrap; }
.verdict::before { content: "\\25CF  "; color: var(--mark); }
.verdict.answered::before { content: "\\2713  "; }
.verdict.undecided::before { content: "?  "; }
dt { font-weight: 600; } dd { margin: 0 0 .6rem 0; }
details { margin: .3rem 0; }
</style>
<h1>{{ title }}</h1>
<p>{{ n }} pairs. A verdict is about a group of pairs; where the evidence does not decide, it is
<em>undecided</em>. Doubt it: a reader that finds nothing proves little, and one that finds
something need not be what the model uses.</p>
<h2>Summary</h2>
<div class="wide"><table>
<thead><tr><th>group</th><th>part</th><th>verdict</th><th>confidence</th><th>pairs</th><th>both images right</th></tr></thead>
<tbody>
{% for g in groups %}
<tr><td>{{ g.group }}</td><td>{{ parts[g.part] }}</td><td class="verdict {{ g.verdict }}">{{ g.verdict }}</td>
<td>{{ g.confidence | percent }}</td><td>{{ g.n_pairs }}</td>
<td>{{ g.pair | percent }} ({{ g.pair_low | percent }} to {{ g.pair_high | percent }}; chance 25%)</td></tr>
{% endfor %}
</tbody></table></div>
<h2>What to try</h2>
<dl>{% for verdict, text in advice.items() %}<dt>{{ verdict }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
<h2>Evidence</h2>
{% for part, columns in evidence.items() if columns %}
<details><summary>Of {{ parts[part] }}</summary>
<div class="wide"><table><thead><tr><th>group</th>{% for c in columns %}<th>{{ c | replace("_", " ") }}</th>{% endfor %}</tr></thead>
<tbody>{% for g in groups if g.part == part %}
<tr><td>{{ g.group }}</td>{% for c in columns %}<td>{{ g[c] | number }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></details>
{% endfor %}
<h2>Pairs</h2>
{% if n > pairs | length %}<p>The first {{ pairs | length }}; pairs.csv has all.</p>{% endif %}
<div class="wide"><table id="pairs">
<thead><tr><th><button type="button">pair</button></th><th><button type="button">group</button></th><th>images</th><th>texts</th>
{% for part, name in parts.items() if evidence[part] %}<th><button type="button">{{ name }}</button></th><th><button type="button">signal</button></th><th><button type="button">bias</button></th>{% endfor %}</tr></thead>
<tbody>
{% for pair in pairs %}
<tr><td>{{ pair.id }}</td><td>{{ pair.group }}</td>
<td>{% for image in pair.images %}<img src="{{ image }}" alt="image {{ loop.index }} of {{ pair.id }}" loading="lazy"> {% endfor %}</td>
<td>{% if pair.texts[0] %}{{ pair.texts[0] }}<br>{% endif %}1: {{ pair.texts[1] }}<br>2: {{ pair.texts[2] }}</td>
{% for part in parts if evidence[part] %}{% set p = pair.parts[part] %}
<td class="verdict {{ p.verdict }}">{{ p.verdict }}</td><td>{{ p.signal | number }}</td><td>{{ p.bias | number }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<script>
document.querySelectorAll("#pairs th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var column = button.parentElement.cellIndex, body = document.querySelector("#pairs tbody");
    var down = button.getAttribute("aria-pressed") === "true";
    document.querySelectorAll("#pairs th button").forEach(function (b) { b.removeAttribute("aria-pressed"); });
    button.setAttribute("aria-pressed", String(!down));
    var rows = Array.from(body.rows);
    rows.sort(function (a, b) {
      var x = a.cells[column].textContent.trim(), y = b.cells[column].textContent.trim();
      var order = isNaN(x) || isNaN(y) || x === "" || y === "" ? x.localeCompare(y, "en", {numeric: true}) : x - y;
      return down ? -order : order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
  });
});
</script>
</html>
"""  # noqa: E501
