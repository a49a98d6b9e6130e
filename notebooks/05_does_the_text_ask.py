# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The embedding holds it, the text doesn't ask
#
# **Where the embedding still holds the side, a linear map brings back which image of A fits which caption in most pairs. Where the side is lost, no such map does.**
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
# In [chapter 4](04_is_it_there.ipynb), a probe could read the side from *hidden*'s embedding but not from *lost*'s; yet both match captions equally badly. A probe brings its own question: we train it on sides. Matching asks whatever the caption asks. So perhaps the text of *hidden* asks for something else? Then the right question should bring matching back, without any change to the images. And in *lost*, no question should.
#
# That's a prediction that can fail, and it puts this book's thesis to the test.

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
# A mean over pairs needs many of them. At mini scale we use 1000 left/right pairs of A, and 150 of the other kinds; at paper scale, whatever What'sUp has.

# %% tags=["hide-input"]
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
# ```{admonition} Predict before you go on
# :class: predict
# Take the mean difference between left and right images, and the mean difference between left and right captions. What cosine do you expect between the two in *hidden*, in *lost* and in *aligned*? And suppose we fit a linear map on the captions of some objects: in which of the three will it bring back matching for other objects?
# ```
#
# ## The texts' difference points past the images'
#
# For a pair with images $a, b$ and captions $s, t$, the two margins of matching add up to $(a-b)\cdot(s-t)$: the lengths of the **image difference** and the **text difference**, times the cosine of the angle between them. At 90°, the text doesn't respond to what changes in the image. Here are the mean angle and the mean lengths. Which models come near 90°?

# %%
from erragree_utils.measures.accuracy import in_digits, in_percent
from erragree_utils.measures.alignment import difference_angles, mean_difference

angles = {key: difference_angles(pairs[key], texts[key]) for key in pairs}
lengths = pd.DataFrame({key: table.mean() for key, table in angles.items()}).T
lengths = lengths.rename_axis(["benchmark", "pairs", "model"])
shown = in_digits(lengths, {"angle": "angle (°)"}, digits=1)
columns = {name: name.replace("_", " ") for name in ("image_difference", "text_difference")}
shown = shown.join(in_digits(lengths, columns)).reset_index(["benchmark", "pairs"])
shown.insert(0, "pairs", shown.pop("benchmark") + ", " + shown.pop("pairs"))
shown

# %% tags=["hide-input"] mystnb={"image": {"alt": "A half circle with the image difference pointing right. The text differences of left/right pairs of hidden and of lost lie around 90 degrees from it, those of aligned around 50, those of on/under pairs of hidden around 74."}, "figure": {"caption": "At mini scale, the left/right captions of *hidden* and *lost* ask at nearly a right angle to what changes in the images; those of *aligned* don't."}}
arcs = {name: angles["A", "left/right", name]["angle"] for name in clips}
default = next(iter(clips))
arcs[f"{default}, on/under"] = angles["A", "on/under", default]["angle"]
plots.angle_arcs(arcs)
plt.show()

# %% [markdown]
# Don't read too much into 90°. Most of the difference between a left and a right image is specific to its pair (other shadows, other parts covered). Even a text that asked for exactly what all pairs have in common would be nearly at a right angle to each single difference. On and under, which *hidden* matches far better, are at more than 70° at mini scale. What counts is what the differences have **in common**. So we compare the mean image difference with the mean text difference, cross-fitted: one comes from one half of the kinds of objects, the other from the other half.
#
# - **Halves of images**: the cosine between the mean image differences of two halves. Is there a common direction at all?
# - **Reachable**: the cosine between images and texts that we'd expect if the two true directions were the same. It's below 1 because means are noisy.
# - **Reached**: how much of the reachable cosine is reached, in per cent (its interval is a jackknife over kinds of pairs).
#
# In benchmark B there's no common direction to find, since a caption may name either of its two objects first; we'll come back to B with the repair.

# %%
of_a = [key for key in pairs if key[0] == "A"]
means = {key: mean_difference(pairs[key], texts[key], kinds[key[:2]]) for key in of_a}
means = pd.DataFrame(means).T.droplevel(0).rename_axis(["pairs of A", "model"])
cosines = means[["image_reliability", "reachable"]]  # without their intervals
shown = in_digits(cosines, {"image_reliability": "halves of images", "reachable": "reachable"})
shown.join(in_percent(means, {"share": "reached"}))

# %% [markdown]
# On and under show what it looks like when a text asks for what the image holds: in every model, the mean text difference reaches a large part of the reachable cosine. In *aligned*, so does left/right. In *hidden*, the images of two halves agree almost perfectly on one left-right direction, so the text could reach a cosine of nearly 1. With a thousand pairs we know to within a few hundredths what it *does* reach: about nothing. **There is a direction, and the text is at a right angle to it.** In *lost* there's still a common direction, though a weaker one, and the text doesn't follow that either; if anything, it points the other way, which doesn't make for a match.
#
# The captions themselves differ little, too. In *hidden* and *lost*, the two captions of a left/right pair are closer than its two images, as the lengths in the first table say. **Text** embeddings can agree erroneously as well.
#
# See for yourself. In the book, the slider turns a direction from the mean text difference (0°) to the part of the mean image difference that's at a right angle to it (90°). The direction comes from one half of the kinds. You see the pairs of the other half along it, with each pair's mean at 0. At 0° you see what matching sees. The list chooses the model.

# %% mystnb={"figure": {"caption": "At mini scale, turning away from what the text asks parts *hidden*'s left and right images altogether, and *lost*'s only in part."}}
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
# ## A linear map repairs *hidden*, and not *lost*
#
# If the side is there but the text asks for something else, a linear map should be able to change the question. We keep both encoders frozen, fit a matrix $M$ on some kinds of objects, and test it on others: the repaired score is that of $a$ and $Ms$. To find $M$, we fit a logistic regression of the margins of matching, with a penalty on the distance from $M = 1$. You can also read the same fit as a map of the images, $M^\top a$ with $s$. The two differ only because we scale whatever we've mapped back to length one, as CLIP compares directions. We show both.
#
# How strong should the penalty be? A single choice would hide that a repair has a price, so we try ten, from almost no change to a map that has forgotten everything else. For each one we ask, on unseen kinds, what comes back, as {term}`relative preference <Relative preference>` and as pair accuracy, and what it costs in *retrieval*, that is, in finding the right caption among those of all sets. A ring marks the penalty that our usual rule would choose: the strongest within one standard error of the best held-out log loss.
#
# If a repair fails, it could be a bad repair. So we add a control where it must succeed: in the images of *lost* (at paper scale, of CLIP), we **plant** a side along one random direction at a right angle to what the texts ask, as long as the existing difference between the two images.

# %% tags=["hide-input"]
from erragree_utils.measures.repair import plant_side, repair_curve

few = 150 if mini else None
planned = {key: (pairs[key][:few], texts[key][:few], kinds[key[:2]][:few])
           for key in pairs if key[1] == "left/right"}  # fmt: skip
into = "A", "left/right", list(clips)[1 if mini else 0]
control = plant_side(*planned[into][:2], lengths.loc[into, "image_difference"])
planned["A", "left/right", "side planted"] = control, *planned[into][1:]
repaired = {(k, name): repair_curve(*parts) for (k, _, name), parts in planned.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against the share of retrieval lost, with 95% intervals, lines for hidden, lost, aligned and the planted side on benchmark A, texts mapped. Hidden and the planted side rise steeply to nearly 100% while little retrieval is lost; lost stays low in pair accuracy whatever it pays; aligned is at the top from the start."}, "figure": {"caption": "At mini scale, a map of the texts brings *hidden*'s relative preference back for little retrieval, as it does a side that we planted; it never brings *lost*'s pairs up to guessing."}}
plots.repair_curves({n: t.loc["texts"] for (k, n), t in repaired.items() if k == "A"})
plt.show()

# %% tags=["hide-input"] mystnb={"image": {"alt": "The same for benchmark B: hidden gains some, lost nothing, aligned starts high."}, "figure": {"caption": "At mini scale, no map of the texts brings the pairs of *hidden* or *lost* up to guessing on B; *aligned* needs none."}}
plots.repair_curves({n: t.loc["texts"] for (k, n), t in repaired.items() if k == "B"})
plt.show()

# %% tags=["hide-input"] mystnb={"image": {"alt": "The same for hidden alone on A and B, with the texts mapped and with the images mapped; on the left they coincide, on the right the one with mapped images lies higher on A."}, "figure": {"caption": "At mini scale, mapping the images instead of the texts leaves relative preference as it is, and wins more pairs of A."}}
sides = {
    f"{k}, {side} mapped": repaired[k, first[2]].loc[side]
    for k in benchmarks
    for side in ("texts", "images")
}
plots.repair_curves(sides)
plt.show()

# %% [markdown]
# At mini scale, on A, the two states part ways:
#
# - ***hidden***: for a few points of retrieval, relative preference comes back in nearly all pairs of unseen objects. Pair accuracy asks for more: *both* images mustn't favour the same caption. It rises well above guessing early on, and to most pairs if you map the images and pay in retrieval.
# - ***lost***: pair accuracy never gets as high as guessing, whatever you pay. Relative preference gains something, but only once most of the retrieval is gone. That's the trace that chapter 4 found by comparing two images.
# - **Side planted** in *lost*: it behaves just like *hidden*. So it isn't the procedure that fails.
#
# Whether you map texts or images matters only for pair accuracy. A strong map changes a text's length. Once we scale it back to one, all images favour or disfavour it alike, which spoils the margins but not the difference between them.
#
# ## In B, one caption doesn't say whose side it is
#
# On B nothing came back, although in chapter 4 a probe could read the side from most of *hidden*'s images there. A map of the texts can only ask with what the texts hold. In A, the caption always names the small object first, so the word *left* or *right* is the whole question. In B, the caption has to **bind** sides to objects: a mug to the left of a bowl is a bowl to the right of a mug. Does the text embedding do that? We probe it the way we probed images. In A, the label is the side of the small object. In B, it's the side of the object whose kind comes first in the alphabet, whichever the caption names first (we tell the probe which objects they are), so that neither the word alone nor the order alone gives the answer away. As with images, we probe one caption, and then two compared; look at the rows "one caption":

# %% tags=["hide-input"]
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
said = pd.DataFrame(read).T.rename_axis(["benchmark", "model", "probe reads"])
in_percent(said, {"accuracy": "accuracy", "shuffled": "shuffled labels"})

# %% mystnb={"image": {"alt": "Accuracy with which a probe reads the side from captions. From one caption's embedding, aligned gives it nearly always; hidden and lost lie near 60% on A and at chance on B. Comparing the two captions of a pair it is higher in all models."}, "figure": {"caption": "At mini scale, one caption of *aligned* gives away the side, and one of *hidden* or *lost* hardly does: texts can agree erroneously, too."}}
plots.probe_bars(said)
plt.show()

# %% [markdown]
# At mini scale, a single caption of *aligned* gives away the side, in A and in B. The captions of *hidden* and *lost* hold far less of it. In A, the probe can tell a pair's two captions apart on unseen objects if it compares them, and that's what a map can use. In B, a single caption is at chance, and comparing two shows only a trace, like the one in *lost*'s images: too little for our maps. So on B, the images of *hidden* hold the side, but its *texts* hardly hold the question.
#
# ## What we found

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
# This is what the repairs recover, and what the texts hold (at mini scale only):


# %% tags=["finding", "hide-input"]
def top(k, name, column, *sides):
    """The map whose interval reaches highest: hindsight can only flatter it."""
    curves = [repaired[k, name].loc[side] for side in sides or ("texts", "images")]
    table = pd.concat(curves, ignore_index=True)
    return estimate(table.loc[table[f"{column}_high"].idxmax()], column)


shown = []
question = (
    "For how many left/right pairs of A can a linear map make CLIP's scores move the right way?"
)
if mini:
    for name in ("hidden", "side planted"):
        table = repaired["A", name].loc["texts"]
        row = table[table["cost_high"] < 0.2].iloc[-1]  # the weakest penalty at so low a price
        shown += [
            claim(f"In the {name} case a repair brings relative preference above 80% for less "
                  "than 20 points of retrieval, on A", estimate(row, "relative"), above=0.8,
                  question=question if name == "hidden" else "", who="hidden", chance=0.5),
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
                question=question if k == "A" else "",
                who="lost",
                chance=0.5,
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
# At mini scale, the prediction came true wherever the text could ask at all:
#
# - ***hidden*, on A**: the side is in the vector, the text's question is at a right angle to it, and turning the question brings the side back. The failure was one of alignment.
# - ***lost***: pair accuracy doesn't come back at any price, though with the same procedure a planted side of the same length does. You can't align what isn't there.
# - ***hidden*, on B**: the side is in the image's vector, but the *text's* vector hardly holds the question. None of our linear maps helps, and no probe of the images would have told us why. You'd need a text tower that binds sides to objects, like *aligned*'s.
#
# ```{admonition} Key idea
# :class: key-idea
# An erroneous agreement can have at least three causes that look alike in cosine and in pair accuracy: the image has lost the difference, the text isn't aligned with it, or the text doesn't say it. Only the first is the image encoder's fault.
# ```
#
# For the published CLIP, we know what the paper reports: the symptom, and that LLaVA finds the side in the patch tokens. Which of the causes is behind it? The mini models can't tell; this page measures it at paper scale.
#
# ## What could be wrong
#
# - **One kind of repair.** Another objective, a nonlinear map or more pairs might do better, or cost less retrieval. The planted control shows that ours finds one direction of that length; it may miss something weaker that's spread over many.
# - **Relative preference isn't matching.** It asks which image prefers the caption more, and a shift that all images share can't spoil it. Pair accuracy needs both margins on their own side of zero, and that takes more than the right direction.
# - **Hindsight.** Claims about *lost* take each curve at its highest point, which can only flatter the repair. Those about *hidden* fix the price first.
# - **Means** hold what all pairs share. A text could respond in a way that depends on the objects; in B it would have to.
# - **Made to order**, as in chapter 4: one training run each, on captions that we wrote.
#
# ## Exercises
#
# **1.** The margins of a pair add up to the dot product of two differences. Suppose that all angles were 45° and the text difference stayed as short as it is. Would matching work?
#
# ```{admonition} Solution
# :class: dropdown
# Only if the bias were smaller still: each margin is half of that sum, plus or minus the preference that *both* images share. A short text difference shrinks both, so the angle decides. But the sum tells you only that the two images differ in the right direction, not that both margins are positive.
# ```
#
# **2.** Plant a side in which each pair of kinds has a direction of its own (`plant_side(..., groups=kinds["A", "left/right"])`). Will a repair bring it back?
#
# ```{admonition} Solution
# :class: dropdown
# Not on unseen kinds: there's nothing in common to learn. If a repair fails, that can mean "lost" or "different for each object", just as with a probe.
# ```
#
# **3.** Fit the map on A and test it on B, or on A's on/under pairs. What do you expect?
#
# ```{admonition} Solution
# :class: dropdown
# `fit_maps(pairs[first], texts[first], [0.03])` gives you the map. It turns just one question, so on and under should hardly suffer. And B shouldn't gain, since A never asks which of two small objects the caption means.
# ```
#
# ## In this chapter you learned
#
# - An angle near 90° in single pairs proves little. To see whether the text asks for what the images have in common, compare mean differences with their reachable ceiling.
# - In *hidden*, on A, a linear map of the question brings the side back at a small price in retrieval; in *lost*, no map does at any price. That's how hidden and lost differ, and why a high cosine alone doesn't tell you which you have.
# - Texts can agree erroneously, too: on B, captions have to bind sides to objects, *hidden*'s hardly do, and none of our maps helps.
#
# **Sources**: {cite:t}`li2024erroneous`; full entries under [References](../book/references.md).

# %% [markdown]
# ## Going deeper
#
# ### Other measures of agreement
#
# Could a measure other than the cosine have told the three apart? For A, we try the cosine after subtracting the mean of all embeddings; the cosine after whitening, so that every direction counts the same; Spearman's rank correlation between the two vectors' entries; d′, which is how far apart the left cloud and the right cloud lie, in units of their spread, along a direction found on other kinds of objects; and the share of all variance that lies within pairs. Look for the row that tells *lost* from the others:

# %% tags=["hide-input"]
from erragree_utils.measures import agreement

rows = {}
for name in clips:
    left, right = (pairs["A", "left/right", name][:, side] for side in (0, 1))
    rows[name] = agreement.agreement_table(left, right).mean()
    rows[name]["d_prime"] = agreement.separation(left, right, kinds["A", "left/right"])["d_prime"]
    rows[name]["within_pairs"] = agreement.variance_shares(left, right)["within_pairs"]
measures = {
    "cosine": "cosine", "centred": "cosine, after subtracting the mean",
    "whitened": "cosine, after whitening", "rank": "rank correlation", "d_prime": "d′",
    "within_pairs": "variance within pairs",
}  # fmt: skip
pd.DataFrame(rows).rename(index=measures).round(3)

# %% [markdown]
# At mini scale, the first four measure how alike two vectors are, and by them *hidden* and *lost* are much the same. Only d′, which is a probe by another name, tells them apart. A word on rank correlation: the paper's reviewers objected that an example with three numbers, in which two vectors with a high cosine have different ranks (or the same), shows nothing. They're right: three numbers can be ordered in six ways, so one random pair in six has a rank correlation of exactly 1.
