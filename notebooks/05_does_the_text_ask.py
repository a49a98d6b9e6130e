# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does the text ask for it?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/05_does_the_text_ask.ipynb)

# %% tags=["remove-cell"]
# @title Setup: on Colab, install what is missing { display-mode: "form" }
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib.metadata import version
    from pathlib import Path

    # Colab's own stay: they fit its GPU, and are in use already.
    kept = [f"{name}=={version(name)}" for name in ("torch", "torchvision", "numpy")]
    Path("constraints.txt").write_text("\n".join(kept))
    package = "erragree-utils[gpu,mmvp] @ git+https://github.com/erroneous-agreements/erroneous-agreements@main"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt"]
    done = subprocess.run([*pip, package], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{done.stderr[-2000:]}\npip could not install the package, see above. "
            f"If it names one of {', '.join(kept)}: choose the latest version under "
            "Runtime > Change runtime type. Else run this cell again."
        )
# %% [markdown]
# **You will** compare what changes in images with what changes in texts, and try to repair matching by a linear map, at ten strengths.
#
# **You will learn** why single angles near 90° prove little, what a mean difference and its ceiling add, and how a repair tells a side that is hidden from one that is lost: by what comes back, and at what price.
#
# **You need** [chapter 4](04_is_it_there.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: a CPU and about a minute. At paper scale: a network, and a GPU or patience.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 2 GiB, 3 min; L4: 2 GiB, 1 min; A100 40 GB: 2 GiB, 1 min; H100 80 GB: 2 GiB, 1 min.
#
# ## The question
#
# In [chapter 4](04_is_it_there.ipynb) a probe read the side from *hidden*'s embedding, and not from *lost*'s; yet both match captions equally badly. A probe brings a question of its own: it was trained on sides. Matching asks what the caption asks. So does the text of *hidden* ask for something else? Then the right question should bring matching back, without touching the images. And in *lost* no question should.
#
# That's a prediction that can fail, and it is the thesis of this book put to the test.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from erragree_utils import load_benchmark, load_clip, plots, start

scale = start()
mini = scale.name == "mini"
sources = {"CLIP": scale.clip}
if mini:
    sources = {"hidden": scale.clip, "lost": "mini-lost", "aligned": "mini-aligned"}
clips = {name: load_clip(source, dtype=scale.clip_dtype) for name, source in sources.items()}

# %% [markdown]
# A mean over pairs is only as good as their number. At mini scale there are 1000 left/right pairs of A, and 150 of the other kinds; at paper scale there is what What'sUp has.

# %%
from erragree_utils.scoring.captions import parse_caption
from erragree_utils.scoring.embeddings import image_embeddings

benchmarks = {"A": scale.whatsup_a, "B": scale.whatsup_b}
wanted = {("A", "left/right"): 1000, ("A", "on/under"): 150, ("B", "left/right"): 150}
pairs, texts, kinds, captions = {}, {}, {}, {}
for (k, relation), n in wanted.items():
    more = {"n_sets": n, "relation": relation} if mini else {}
    bench = load_benchmark(benchmarks[k], **more, **scale.draw).select(relation)
    captions[k, relation] = [text for pair in bench for text in pair.captions]
    said = [parse_caption(pair.captions[0]) for pair in bench]
    things = [sorted((s.first.split()[-1], s.second.split()[-1])) for s in said]
    kinds[k, relation] = [" and ".join(two) for two in things]
    for name, clip in clips.items():
        seen = image_embeddings(clip, bench)
        asked = clip.embed_texts(captions[k, relation])
        pairs[k, relation, name] = np.stack([seen[pair.pair_id] for pair in bench])
        texts[k, relation, name] = asked.reshape(len(bench), 2, -1)
    print(f"{k}, {relation}: {len(bench)} pairs")

# %% [markdown]
# ```{admonition} Before you go on
# :class: tip
# Take the mean difference between left and right images, and the mean difference between left and right captions. What cosine do you expect between the two in *hidden*, in *lost* and in *aligned*? And if we fit a linear map on the captions of some objects, in which of the three will it bring back the matching of others?
# ```
#
# ## The measurement: two differences
#
# For a pair with images $a, b$ and captions $s, t$ the two margins of matching add up to $(a-b)\cdot(s-t)$: the product of two lengths and the cosine of the angle between the **image difference** and the **text difference**. At 90° the text doesn't answer to what changes in the image.

# %%
from erragree_utils.measures.alignment import difference_angles, mean_difference

angles = {key: difference_angles(pairs[key], texts[key]) for key in pairs}
lengths = pd.DataFrame({key: table.mean() for key, table in angles.items()}).T
lengths[["angle", "image_difference", "text_difference"]].round(3)

# %% mystnb={"image": {"alt": "A half circle with the image difference pointing right. The text differences of left/right pairs of hidden and of lost lie around 90 degrees from it, those of aligned around 50, those of on/under pairs of hidden around 74."}}
arcs = {name: angles["A", "left/right", name]["angle"] for name in clips}
default = next(iter(clips))
arcs[f"{default}, on/under"] = angles["A", "on/under", default]["angle"]
plots.angle_arcs(arcs)
plt.show()

# %% [markdown]
# Don't read too much into 90°. Most of what differs between a left and a right image belongs to its own pair (other shadows, other parts covered), and a text that asked for exactly what all pairs have in common would stand nearly at a right angle to each single difference, too. On and under, which *hidden* matches far better, stand at more than 70° at mini scale. What counts is what differences have **in common**: the mean image difference against the mean text difference, cross-fitted, one from one half of the kinds of objects and the other from the other half.
#
# - `cosine` of the two means, over random halves, with its interval (jackknife over kinds of pairs).
# - `image_reliability`: the cosine of the mean image differences of two halves. Is there a common direction at all?
# - `reachable`: the cosine to expect if the two true directions were the same. It is below 1 because means are noisy.
# - `share`: how much of the reachable cosine is reached, with its interval.
#
# Benchmark B has no common direction to find, since either of its two objects may be the one that is named; it comes back with the repair.

# %%
of_a = [key for key in pairs if key[0] == "A"]
means = {key: mean_difference(pairs[key], texts[key], kinds[key[:2]]) for key in of_a}
means = pd.DataFrame(means).T.droplevel(0)
means[["image_reliability", "cosine", "reachable", "share", "share_low", "share_high"]].round(3)

# %% [markdown]
# On and under show what it looks like when a text asks for what the image holds: in every model the mean text difference covers a large part of the reachable cosine. So does left/right in *aligned*. In *hidden*, the images of two halves agree almost perfectly on one left-right direction (`image_reliability`), so nearly a cosine of 1 could be reached, and with a thousand pairs what *is* reached is known to a few hundredths: about none. **There is a direction, and the text stands at a right angle to it.** In *lost* there is still a common direction, a weaker one, and the text doesn't follow it either; if anything it points the other way, which makes as little of a match.
#
# The captions themselves differ little, too: in *hidden* and *lost* the two captions of a left/right pair (`text_difference`) are closer than its two images. There are erroneous agreements of **text** embeddings.
#
# Look for yourself: in the book, the slider turns a direction from the mean text difference (0°) to the part of the mean image difference that stands at a right angle to it (90°). The direction comes from one half of the kinds; the pairs of the other half are shown along it, each pair's mean at 0. At 0° you see what matching sees. The list chooses the model.

# %%
from erragree_utils.measures.alignment import turned_scores
from erragree_utils.plots import live

first = "A", "left/right", default
turned = {
    name: turned_scores(
        pairs["A", "left/right", name], texts["A", "left/right", name], kinds["A", "left/right"],
        range(0, 91, 5),
    )
    for name in clips
}  # fmt: skip
live.direction(turned, ("the left image", "the right image"))

# %% [markdown]
# ## The test: can it be repaired?
#
# If the side is there and the text asks for something else, a linear map should change the question. We keep both encoders frozen, fit a matrix $M$ on some kinds of objects, and test it on others: the repaired score is that of $a$ and $Ms$. $M$ comes from logistic regression of the margins of matching, penalised for its distance from $M = 1$. The same fit can be read as a map of the images, $M^\top a$ with $s$; the two differ only because what was mapped is scaled to length one again, as CLIP compares directions. We show both.
#
# How strong should the penalty be? A single choice would hide that a repair has a price, so here are ten, from next to no change to a map that has forgotten the rest. For each we ask on unseen kinds what comes back, as {term}`relative preference <Relative preference>` and as pair accuracy, and what it costs in *retrieval*: the right caption among those of all sets. A ring marks the penalty that a rule would name: the strongest within one standard error of the best held-out log loss.
#
# A repair that fails could be a bad repair. So there's a control in which it must succeed: the images of *lost* (at paper scale, of CLIP) with a side **planted** along one random direction at a right angle to what the texts ask, as long as the difference that the two images have anyway.

# %%
from erragree_utils.measures.repair import plant_side, repair_curve

few = 150 if mini else None
planned = {key: (pairs[key][:few], texts[key][:few], kinds[key[:2]][:few])
           for key in pairs if key[1] == "left/right"}  # fmt: skip
into = "A", "left/right", list(clips)[1 if mini else 0]
control = plant_side(*planned[into][:2], lengths.loc[into, "image_difference"])
planned["A", "left/right", "side planted"] = control, *planned[into][1:]
repaired = {(k, name): repair_curve(*parts) for (k, _, name), parts in planned.items()}
shown = ["relative", "pair", "retrieval", "cost"]
table = pd.concat(repaired, names=["benchmark", "model"])
best = table.loc[table.groupby(["benchmark", "model", "side"])["pair"].idxmax(), shown]
(100 * best).round(1)

# %% mystnb={"image": {"alt": "Two panels against the share of retrieval lost, with 95% intervals, lines for hidden, lost, aligned and the planted side on benchmark A, texts mapped. Hidden and the planted side rise steeply to nearly 100% while little retrieval is lost; lost stays low in pair accuracy whatever it pays; aligned is at the top from the start."}}
plots.repair_curves({n: t.loc["texts"] for (k, n), t in repaired.items() if k == "A"})
plt.show()

# %% mystnb={"image": {"alt": "The same for benchmark B: hidden gains some, lost nothing, aligned starts high."}}
plots.repair_curves({n: t.loc["texts"] for (k, n), t in repaired.items() if k == "B"})
plt.show()

# %% mystnb={"image": {"alt": "The same for hidden alone on A and B, with the texts mapped and with the images mapped; on the left they coincide, on the right the one with mapped images lies higher on A."}}
sides = {
    f"{k}, {side} mapped": repaired[k, first[2]].loc[side]
    for k in benchmarks
    for side in ("texts", "images")
}
plots.repair_curves(sides)
plt.show()

# %% [markdown]
# At mini scale, in A, the two states part company:
#
# - ***hidden***: a few points of retrieval bring relative preference back in nearly all pairs of unseen objects. Pair accuracy asks for more, that no caption be favoured by *both* images; it rises well above guessing early on, and to most pairs if one maps the images and pays in retrieval.
# - ***lost***: pair accuracy never reaches guessing, whatever one pays. Relative preference gains something while most of the retrieval is lost: the trace that chapter 4 found by comparing two images.
# - **Side planted** in *lost*: it behaves as *hidden* does. So it isn't the procedure that fails.
#
# Which side is mapped matters to pair accuracy alone. A text that is mapped strongly changes its length; scaled to one again, it is favoured or not by all images alike, which spoils margins and leaves their difference as it was.
#
# ## And B?
#
# In B nothing came back, although in chapter 4 a probe read the side from most of *hidden*'s images there. A map of the texts can only ask with what the texts hold. In A the small object is always named first, so the word *left* or *right* is the whole question. In B the caption has to **bind**: a mug to the left of a bowl is a bowl to the right of a mug. Does the text embedding? We probe it as we probed images. In A the label is the side of the small object. In B it's the side of the object whose kind comes first in the alphabet, whichever is named first (the probe is told which objects they are), so that neither the word alone nor the order alone gives the answer. As for images, one caption is probed, and two compared.

# %%
from erragree_utils.measures.probes import probe
from erragree_utils.scoring.captions import scene_examples, side_examples
from erragree_utils.scoring.embeddings import asked_about

examples = {
    "A": side_examples(captions["A", "left/right"][:300]),
    "B": scene_examples(captions["B", "left/right"][:300]),
}
read = {}
for k, table in examples.items():
    for name, clip in clips.items():
        x = texts[k, "left/right", name][: len(table) // 2]
        ways = {"one caption": x, "two compared": x - x.mean(axis=1, keepdims=True)}
        told = asked_about(clip, table) if k == "B" else None
        for way, rows in ways.items():
            flat = rows.reshape(len(table), -1)
            read[k, name, way] = probe(flat, table["side"], table["group"], condition=told)
said = pd.DataFrame(read).T
said[["accuracy", "accuracy_low", "accuracy_high", "shuffled"]].astype(float).round(3)

# %% mystnb={"image": {"alt": "Accuracy with which a probe reads the side from captions. From one caption's embedding, aligned gives it nearly always; hidden and lost lie near 60% on A and at chance on B. Comparing the two captions of a pair it is higher in all models."}}
plots.probe_bars(said)
plt.show()

# %% [markdown]
# At mini scale *aligned*'s captions give the side one by one, in A and in B. Those of *hidden* and *lost* hold far less of it. In A the two captions of a pair, compared, are told apart on unseen objects, and that is what a map can use. In B one caption is at chance, and what shows when two are compared is a trace, like the one in *lost*'s images: too little for our maps. So on B the images of *hidden* hold the side, and its *texts* hardly hold the question.
#
# ## The findings

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.paper import published

claim = partial(finding, seed=scale.seed)
paper = {"reader": "CLIP ViT-L/14-336", "relation": "left/right", "kind": "pair"}
plain = repaired["A", first[2]].loc["texts"].iloc[0]
shown = [
    claim("Before any repair CLIP matches fewer pairs than guessing would, on A",
          estimate(plain, "pair"), below=0.25, paper=published(benchmark="whatsup-a", **paper)),
]  # fmt: skip
if mini:
    sideways, upright = (means.loc[relation] for relation in ("left/right", "on/under"))
    shown += [
        claim("The hidden model's images share one left-right direction, on A",
              estimate(sideways.loc["hidden"], "image_reliability"), above=0.8, unit="cosine"),
        claim("The hidden model's text difference reaches less than a fifth of the reachable "
              "cosine with it, on A", estimate(sideways.loc["hidden"], "share"), below=0.2, unit=""),
        claim("The lost model's text difference reaches less than a fifth of the reachable "
              "cosine, on A", estimate(sideways.loc["lost"], "share"), below=0.2, unit=""),
        claim("The aligned model's text difference reaches more than half of the reachable cosine, "
              "on A", estimate(sideways.loc["aligned"], "share"), above=0.5, unit=""),
        claim("For on and under the hidden model's text difference reaches more than a third of "
              "the reachable cosine", estimate(upright.loc["hidden"], "share"), above=1 / 3, unit=""),
    ]  # fmt: skip
findings.show(shown)

# %% [markdown]
# What the repairs recover, and what texts say (at mini scale only):


# %% tags=["finding", "hide-input"]
def top(k, name, column, side="images"):
    """The row of a curve whose interval reaches highest: hindsight can only flatter it."""
    table = repaired[k, name].loc[side]
    return estimate(table.loc[table[f"{column}_high"].idxmax()], column)


shown = []
if mini:
    for name in ("hidden", "side planted"):
        table = repaired["A", name].loc["texts"]
        row = table[table["cost_high"] < 0.2].iloc[-1]  # the weakest penalty at so low a price
        shown += [
            claim(f"In the {name} case a repair brings relative preference above 80% for less "
                  "than 20 points of retrieval, on A", estimate(row, "relative"), above=0.8),
            claim(f"In the {name} case some map of the images brings most pairs back, on A",
                  estimate(repaired["A", name].loc["images"].iloc[-1], "pair"), above=0.5),
        ]  # fmt: skip
    for k in benchmarks:
        for side in ("texts", "images"):
            shown.append(
                claim(
                    f"In the lost model no map of the {side} brings pair accuracy to "
                    f"guessing, on {k}",
                    top(k, "lost", "pair", side),
                    below=0.25,
                )
            )
        shown.append(
            claim(
                f"In the lost model no map brings relative preference to 85%, on {k}",
                top(k, "lost", "relative"),
                below=0.85,
            )
        )
    shown += [
        claim("In the hidden model, too, no map brings pair accuracy to guessing, on B",
              top("B", "hidden", "pair"), below=0.25),
        claim("In the hidden model no map brings relative preference to 75%, on B",
              top("B", "hidden", "relative"), below=0.75),
        claim("One caption's embedding in the hidden model doesn't tell the side of the object, on B",
              estimate(said.loc[("B", "hidden", "one caption")], "accuracy"), below=0.7),
        claim("One caption's embedding in the aligned model does, on B",
              estimate(said.loc[("B", "aligned", "one caption")], "accuracy"), above=0.75),
    ]  # fmt: skip
findings.show(shown) if shown else None

# %% [markdown]
# ## What it means
#
# At mini scale the prediction came true where the text could ask at all:
#
# - ***hidden*, on A**: the side is in the vector, the text's question stands at a right angle to it, and turning the question brings the side back. The failure was one of alignment.
# - ***lost***: nothing comes back at any price, though a planted side of the same length does with the same procedure. One can't align what isn't there.
# - ***hidden*, on B**: the side is in the image's vector, and the *text's* vector hardly holds the question. No linear map we fitted helps, and no probe of images would have told us so. It takes a text tower that binds sides to things, as *aligned* has.
#
# So an erroneous agreement has at least three roots that look alike in cosine and in pair accuracy: lost in the image, unaligned, and unsaid by the text. Only the first is the image encoder's fault.
#
# For the published CLIP we know what the paper reports: the symptom, and that LLaVA finds the side in the patch tokens. Which root it has, this page measures at paper scale; the mini models can't tell.
#
# ## What could be wrong
#
# - **One kind of repair.** Another objective, a nonlinear map or more pairs might do better, or spare retrieval. The planted control shows that ours finds one direction of that length; what is spread over many, and weaker, it may miss.
# - **Relative preference isn't matching.** It asks which image prefers the caption more, and a shift that all images share can't spoil it. Pair accuracy asks both margins to be on their own side of zero, which needs more than the right direction.
# - **Hindsight.** Claims about *lost* take each curve at its highest point, which can only flatter the repair. Those about *hidden* fix the price first.
# - **Means** hold what all pairs share. A text could answer in a way that depends on the objects; in B it would have to.
# - **Made to order**, as in chapter 4: one training run each, of captions that we wrote.
#
# ## Exercises
#
# **1.** The margins of a pair add up to the dot product of two differences. If all angles were 45° and the text difference stayed as short as it is, would matching work?
#
# ```{admonition} Solution
# :class: dropdown
# Only if the text's own preference is shorter still: each margin is half of that sum plus or minus what the captions differ by for *both* images. A short text difference shortens both, so the angle decides; but the sum says only that the two images are told apart, not that both margins are positive.
# ```
#
# **2.** Plant a side in which each pair of kinds has a direction of its own (`plant_side(..., groups=kinds["A", "left/right"])`). Will a repair bring it back?
#
# ```{admonition} Solution
# :class: dropdown
# Not on unseen kinds: there is nothing in common to learn. A repair that fails can mean "lost" or "different for each object", as a probe's failure can.
# ```
#
# **3.** Fit the map on A and test it on B, or on A's on/under pairs. What do you expect?
#
# ```{admonition} Solution
# :class: dropdown
# `fit_maps(pairs[first], texts[first], [0.03])` gives the map. It turns one question; that of on and under should suffer little, and B shouldn't gain, since A never asks which of two small things is meant.
# ```
#
# ## In this chapter you learned
#
# - An angle near 90° in single pairs proves little. Mean differences with their reachable ceiling say whether the text asks for what images have in common.
# - In *hidden*, on A, a linear map of the question brings the side back at a small price in retrieval; in *lost*, no map does at any price. That is how hidden and lost differ, and why a high cosine alone doesn't tell.
# - A text can agree erroneously, too: on B, where captions have to bind sides to objects and *hidden*'s hardly do, no map we fitted helps.
#
# ## Appendix: other measures of agreement
#
# Would another measure than the cosine have told the three apart? For A: the cosine after removing the mean of all embeddings; after whitening, so that every direction counts alike; Spearman's rank correlation of the two vectors' numbers; d′, how far the left cloud and the right cloud lie apart in units of their spread, along a direction found on other kinds of objects; and the share of all variance that lies within pairs.

# %% tags=["hide-cell"]
from erragree_utils.measures import agreement

rows = {}
for name in clips:
    left, right = (pairs["A", "left/right", name][:, side] for side in (0, 1))
    rows[name] = agreement.agreement_table(left, right).mean()
    rows[name]["d_prime"] = agreement.separation(left, right, kinds["A", "left/right"])["d_prime"]
    rows[name]["within_pairs"] = agreement.variance_shares(left, right)["within_pairs"]
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# At mini scale the first four are measures of how alike two vectors are, and say of *hidden* and *lost* that they're much the same. Only d′, which is a probe by another name, tells them apart. A word on rank correlation: an example with three numbers, in which two vectors of high cosine have unequal ranks (or equal ones), shows nothing, as the paper's reviewers objected. Three numbers can be ordered in six ways, so one random pair in six has a rank correlation of exactly 1.
#
# **Sources**: {cite:t}`li2024erroneous`; full entries under [References](../book/references.md).
