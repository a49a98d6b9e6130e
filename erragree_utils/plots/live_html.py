"""The HTML of live figures: what the page shows before, or without, any script."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined

_environment = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)

DRAG = _environment.from_string("""\
<figure class="live live-drag" data-live="drag">
<div class="live-stage">
<div class="live-view"><img src="{{ start }}" width="{{ size[0] }}" height="{{ size[1] }}"
 alt="The start: {{ mover }} at the left."><span class="live-tag">start</span></div>
<div class="live-view live-handle"><img src="{{ now }}" width="{{ size[0] }}"
 height="{{ size[1] }}" draggable="false"
 alt="The same scene with {{ mover }} at the right, or where you put it."
><span class="live-tag">now</span><span class="live-hint" hidden>⟷ drag {{ mover }}</span></div>
</div>
<label class="live-control" hidden><span>Place of {{ mover }}</span>
<input class="live-slider" type="range" min="0" max="{{ last }}" value="{{ last }}"></label>
<table class="live-readings">
<thead><tr><th scope="col">What is read</th><th scope="col">start</th><th scope="col">now</th></tr>
</thead>
<tbody>
{% for reading in readings %}
<tr class="live-{{ reading.reader|lower }}"><th scope="row"><b>{{ reading.reader }}</b>
{{ reading.label }}</th>
{% for frame in (0, last) %}
<td><span class="live-value">{{ reading.shown(frame) }}</span>
<span class="live-bar"><i style="width:{{ reading.bar(frame) }}%"></i></span>
{% if frame %}<span class="live-here" hidden></span>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
<div class="live-chart">
<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
{% for reader, points in lines %}
<polyline class="live-{{ reader|lower }}" points="{{ points }}"/>
{% endfor %}
<line class="live-cursor" x1="100" x2="100" y1="0" y2="100"/>
</svg>
<p class="live-legend">{% for reading in readings if reading.drawn %}
<span class="live-{{ reading.reader|lower }}">{{ reading.reader }}: {{ reading.label }}</span>
{% endfor %}<span>from 0 to 1, along the way</span></p>
</div>
{% if live %}
<p class="live-run" hidden><button type="button">Run it live</button>
<output>Loads both models ({{ live.megabytes }} MB) and computes in your browser.</output></p>
{% endif %}
<figcaption>{{ caption }}</figcaption>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")

POINTS = _environment.from_string("""\
<figure class="live live-points" data-live="points"
 style="--sheet:url({{ sheet }});--columns:{{ columns }};--rows:{{ rows }}">
<div class="live-columns">
<div>
<svg viewBox="0 0 {{ side }} {{ side + 24 }}" role="img"
 aria-label="{{ axes[0] }} against {{ axes[1] }}, a dot for each pair. {{ d.summary[0] }}.">
<polygon class="live-region" points="{{ region }}"/>
<path class="live-axes" d="M20 {{ side / 2 }}H{{ side - 20 }}M{{ side / 2 }} 20V{{ side - 20 }}"/>
<text x="{{ side / 2 }}" y="{{ side + 16 }}"
 text-anchor="middle">{{ axes[0] }}, up to {{ across }} →</text>
<text x="14" y="{{ side / 2 }}" text-anchor="middle"
 transform="rotate(-90 14 {{ side / 2 }})">{{ axes[1] }}, up to {{ up }} →</text>
<g class="live-dots">
{% for x, y, right in zipped %}
<circle r="5" class="{{ 'right' if right else 'wrong' }}"
 style="transform:translate({{ x }}px,{{ y }}px)"/>
{% endfor %}
<circle r="10" class="live-ring"
 style="transform:translate({{ d.x[0][start] }}px,{{ d.y[0][start] }}px)"/>
</g>
</svg>
{% if slider %}
<label class="live-control" hidden><span>{{ slider }}</span>
<input class="live-slider" type="range" min="0" max="{{ d.states|length - 1 }}" value="0"></label>
{% endif %}
<p class="live-summary"><output>{{ d.summary[0] }}</output>
<span>● both right</span> <span>○ not both</span> <span>{{ drawn }}</span></p>
</div>
<div class="live-detail">
<label class="live-control" hidden><span>Pair</span><select>
{% for pair in d.pairs %}
<option{{ ' selected' if loop.index0 == start }}>{{ pair.name }}</option>
{% endfor %}
</select></label>
<p class="live-question">{{ d.pairs[start].question }}</p>
<div class="live-two">
{% for image in (0, 1) %}
<div><div class="live-thumb" role="img" aria-label="Image {{ image + 1 }} of the pair"
 style="--tile-x:{{ (2 * start + image) % columns }};--tile-y:{{ (2 * start + image) // columns }}">
</div>
<p class="live-text">{{ d.pairs[start].texts[image] }}</p>
<p class="live-ahead">{{ told[image] }}</p></div>
{% endfor %}
</div>
</div>
</div>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")

QUIZ = _environment.from_string("""\
<figure class="live live-quiz" data-live="quiz">
<ol class="live-cards">
{% for card in cards %}
<li class="live-card" data-right="{{ card.right }}">
<div class="live-two">
{% for image in card.images %}
<img src="{{ image }}" width="192" height="192"
 alt="{{ ('Left', 'Right')[loop.index0] }} picture of the pair.">
{% endfor %}
</div>
<p class="live-question">{{ card.question }} Which picture: “{{ card.texts[0] }}”?</p>
<p class="live-options" hidden>
<button type="button">left</button> <button type="button">right</button>
</p>
<details><summary>Who is right?</summary>
<p>It is the <b>{{ ('left', 'right')[card.right] }}</b> one.
 The other: “{{ card.texts[1] }}”.</p>
{% for name, (answer, right) in card.said.items() %}
<p class="live-{{ name|lower }}">{{ '✓' if right else '✗' }} <b>{{ name }}</b> {{ answer }}.</p>
{% endfor %}
</details>
</li>
{% endfor %}
</ol>
<p class="live-tally"><output>Right, of {{ cards|length }}: {{ counts }}</output></p>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")

CLOUDS = _environment.from_string("""\
<figure class="live live-clouds" data-live="clouds">
<div class="live-still" style="--columns:{{ still|length }}">
{% for model in models %}
{% set row = loop.index0 %}
{% for state in still %}
<div><svg class="live-histogram" viewBox="0 0 100 100" preserveAspectRatio="none" role="img"
 aria-label="{{ d.summary[row][state] }}">
{% for group in ('first', 'second') %}
<g class="{{ group }}">{% set heights = d.heights[row][state][loop.index0] %}
{% for height in heights %}
<rect x="{{ (100 * loop.index0 / bins)|round(2) }}" y="{{ 100 - height }}"
 width="{{ (100 / bins)|round(2) }}" height="{{ height }}"/>
{% endfor %}
</g>
{% endfor %}
</svg><p class="live-told">{{ d.summary[row][state] }}</p></div>
{% endfor %}
{% endfor %}
</div>
{% if models|length > 1 %}
<label class="live-control" hidden><span>Model</span><select>
{% for model in models %}
<option>{{ model }}</option>
{% endfor %}
</select></label>
{% endif %}
<label class="live-control" hidden><span>Angle</span>
<input class="live-slider" type="range" min="0" max="{{ angles|length - 1 }}" value="0"></label>
<p class="live-summary"><output></output>
<span class="live-key first">■ {{ names[0] }}</span>
<span class="live-key second">□ {{ names[1] }}</span></p>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")

PICK = _environment.from_string("""\
<figure class="live live-pick" data-live="pick"
 style="--sheet:url({{ sheet }});--columns:{{ columns }};--rows:{{ rows }}">
<div class="live-images">
{% for name in d.names %}
<button type="button" disabled aria-pressed="{{ 'true' if loop.index0 in d.start else 'false' }}"
 aria-label="{{ name }}"
 style="--tile-x:{{ loop.index0 % columns }};--tile-y:{{ loop.index0 // columns }}"></button>
{% endfor %}
</div>
<svg class="live-histogram" viewBox="0 0 100 100" preserveAspectRatio="none" role="img"
 aria-label="Histograms of cosines: {{ names|join(', and ') }}.">
{% for group in heights %}
<g class="{{ ('first', 'second')[loop.index0] }}">
{% for height in group %}
<rect x="{{ (100 * loop.index0 / bins)|round(2) }}" y="{{ 100 - height }}"
 width="{{ (100 / bins)|round(2) }}" height="{{ height }}"/>
{% endfor %}
</g>
{% endfor %}
<line class="live-cursor" x1="{{ place }}" x2="{{ place }}" y1="0" y2="100"/>
</svg>
<p class="live-ends"><span>{{ d.low }}</span><span>cosine</span><span>1</span></p>
<p class="live-summary"><output>{{ told }}</output>
{% for name in names %}
<span class="live-key {{ ('first', 'second')[loop.index0] }}">{{ '■□'[loop.index0] }}
 {{ name }}</span>
{% endfor %}</p>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")

CALCULATOR = _environment.from_string("""\
<figure class="live live-calculator" data-live="calculator">
<div class="live-settings">
<fieldset class="live-control" hidden><legend>Weights of the language model in</legend>
{% for name in precisions %}
<button type="button" aria-pressed="{{ 'true' if loop.index0 == first[0] else 'false' }}"
>{{ name }}</button>
{% endfor %}
</fieldset>
<label class="live-control" hidden><span>Images at a time</span>
<input class="live-slider" type="range" min="0" max="{{ batches|length - 1 }}"
 value="{{ first[1] }}"></label>
</div>
<p class="live-summary"><output>{{ shown.summary }}</output></p>
<table class="live-readings">
<thead><tr><th scope="col">GPU</th><th scope="col">its memory</th>
<th scope="col">the whole study</th></tr></thead>
<tbody>
{% for gpu in gpus %}
{% set k = loop.index0 %}
<tr><th scope="row"><b>{{ gpu }}</b></th>
<td><span class="live-need">{{ shown.needs[k] }}</span>
<span class="live-stack" aria-hidden="true">{% for part in parts %}
<i class="live-part-{{ loop.index }}" style="width:{{ shown.bars[k][loop.index0] }}%"></i>
{% endfor %}</span></td>
<td><span class="live-fits">{{ shown.fits[k] }}</span><br>
<span class="live-time">{{ shown.times[k] }}</span></td></tr>
{% endfor %}
</tbody>
</table>
<p class="live-legend">{% for part in parts %}
<span><i class="live-swatch live-part-{{ loop.index }}"></i> {{ part }}</span>
{% endfor %}</p>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")

EFFECTS = _environment.from_string("""\
<figure class="live live-effects" data-live="effects">
<div class="live-diagram">
<svg viewBox="0 0 500 300" aria-hidden="true"><defs>
<marker id="live-arrow" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7"
 orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>
{% for begin, end in arrows %}
<polyline marker-mid="url(#live-arrow)" points="{{ 5 * 100 * begin[0] }},{{ 300 - 300 * begin[1] }}
 {{ 250 * (begin[0] + end[0]) }},{{ 300 - 150 * (begin[1] + end[1]) }}
 {{ 500 * end[0] }},{{ 300 - 300 * end[1] }}"/>
{% endfor %}
</svg>
{% for name, x, y, kind, count in boxes %}
<button type="button" disabled aria-pressed="false" class="live-{{ kind }}"
 data-effects="{{ count }}" style="left:{{ x|round(2) }}%;top:{{ y|round(2) }}%">{{ name }}</button>
{% endfor %}
</div>
<p class="live-legend"><span class="live-box live-varied">varied</span>
<span class="live-box live-fixed">held fixed</span>
<span class="live-box live-measured">measured</span></p>
<p class="live-summary"><output>{{ rows|length }} effects</output>
<button type="button" class="live-all" hidden>Show all</button></p>
<table class="live-readings">
<thead><tr><th scope="col">Change</th>
<th scope="col">effect in {{ unit }}, with its 95% interval</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row"><b>{{ row.name }}</b><br><span class="live-factor">{{ row.factor }}</span></th>
<td><span class="live-value">{{ row.told }}</span>
{% if row.paper %}<span>◇ paper {{ row.paper }}</span>{% endif %}
<span class="live-interval" aria-hidden="true"><s style="left:{{ zero }}%"></s>
<i style="left:{{ row.low }}%;width:{{ (row.high - row.low)|round(2) }}%"></i>
<b style="left:{{ row.dot }}%"></b>
{% if row.diamond is not none %}<u style="left:{{ row.diamond }}%"></u>{% endif %}</span></td></tr>
{% endfor %}
</tbody>
</table>
<p class="live-legend"><span>● ours</span>{% if any_paper %}<span>◇ the paper's</span>{% endif %}
<span>upright line: no change</span></p>
<script type="application/json">{{ data|safe }}</script>
</figure>
""")
