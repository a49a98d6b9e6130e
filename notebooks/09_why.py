# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What lets a reader see more
#
# **In this small world it takes patch tokens *and* a text side that reads them while it predicts words: neither patch tokens in a matching score nor captioning from one vector was enough.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/09_why.ipynb)

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
# **You will** read {term}`ablations <Ablation>`: compare small models that differ in one factor each, most of them trained from nothing: what captions state, what is optimised, which image tokens are used, what stands on the text side.
#
# **You will learn** which of these moves left and right in the tabletop world and which does not, how to read an effect over seeds *and* pairs, and why “it is the way CLIP is trained” has to be taken apart before it can be tested.
#
# **You need** chapters [2](02_clip_matching.ipynb) to [4](04_is_it_there.ipynb), and [relative preference](08_two_images.ipynb) from chapter 8. Two CPU cores and about half a minute: the page draws from recorded runs, which took hours, and makes the shortest of them again. It is the same at both {term}`scales <Mini scale, paper scale>`.
#
# ## The question
#
# CLIP's matching fails where LLaVA, on the same frozen encoder, succeeds. But LLaVA differs from CLIP in many ways at once: it predicts words instead of telling captions of a batch apart, it is trained on questions and answers, it reads all patch tokens and not one vector, and it has a larger text side. To say which of these matters, one has to train models that differ in *one* of them. For published models that is costly; a later version of the paper has done it for some factors {cite:p}`li2025exploring`. With small ones it takes minutes.
#
# ```{admonition} Before you go on
# :class: tip
# Start from a small CLIP that finds the right objects but not the right side. You may change one thing: let *every* caption state the relation, put the opposite caption of each into the batch, match on patch tokens instead of the class token, take a trained language model as text encoder, or train the same encoder to *write* captions. Which one do you change? Which ones will do nothing?
# ```

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.utils.capture import capture_output
from PIL import Image

from erragree_utils import plots
from erragree_utils.tabletop.render import render_many
from erragree_utils.training import ablations
from erragree_utils.training.ablations import EXPERIMENTS, FAMILIES
from erragree_utils.training.ablations.world import draw_captions
from erragree_utils.training.data import training_scenes

# %% [markdown]
# ## What is varied, and what is not

# %% mystnb={"image": {"alt": "Causal diagram. Varied: what captions state, objective with batch size and steps, text side, image tokens that are used. Held fixed: pictures, and by seed the order of batches and the first weights; size of the image encoder and optimiser. Data and objective act on image encoder and text side; the image encoder gives image tokens; tokens and text side give the score of an image and a caption. Measured: that score, the side by pair accuracy and relative preference, objects by retrieval, and the side in the vectors by a linear probe."}}
boxes = {
    "data:\nwhat captions state": (0.11, 0.88, "varied"),
    "objective,\nbatch size, steps": (0.11, 0.5, "varied"),
    "pictures (for all),\norder and start (by seed)": (0.13, 0.12, "fixed"),
    "text side": (0.41, 0.88, "varied"),
    "image encoder's\nsize, optimiser": (0.41, 0.5, "fixed"),
    "image tokens\nthat are used": (0.41, 0.12, "varied"),
    "score of an image\nand a caption": (0.67, 0.6, "measured"),
    "side: pair accuracy,\nrelative preference": (0.89, 0.88, "measured"),
    "objects:\nretrieval": (0.91, 0.5, "measured"),
    "side in the vectors:\nlinear probe": (0.89, 0.12, "measured"),
}
data, objective, start, text, encoder, tokens, score, *measures = boxes
arrows = [
    (data, text), (data, encoder), (objective, text), (objective, encoder),
    (start, encoder), (encoder, tokens), (text, score), (tokens, score),
    (score, measures[0]), (score, measures[1]), (tokens, measures[2]),
]  # fmt: skip
plots.causal_diagram(boxes, arrows)
plt.show()

# %% [markdown]
# What the models see: scenes of two things, each with captions of several sorts. Only the second sort states the relation; the third is used as a wrong answer, the fourth as if it were a caption.

# %% mystnb={"image": {"alt": "A rendered training scene of two objects, a piece of furniture or a large thing and a small one, side by side in a furnished place."}}
scene = next(s for s in training_scenes(0, 0, 100) if s.relation == "left of")
plots.show_image(Image.fromarray(render_many([scene], 160)[0]))
plt.show()

# %%
sorts = ("no relation", "relation", "hard negative", "question")
texts = draw_captions(scene, np.random.default_rng(0), 1)
for sort, (text,) in zip(sorts, texts, strict=True):
    print(f"{sort:15}{text}")

# %% [markdown]
# Each experiment has a base and differs from it in one setting. The next cell does not quote that, it compares:

# %%
changes = []
for name, e in EXPERIMENTS.items():
    if e.base:
        mine, its = (vars(EXPERIMENTS[n].settings()) for n in (name, e.base))
        differs = [f"{k}={mine[k]}" for k in mine if mine[k] != its[k]]
        changes.append((name, e.base, ", ".join(differs)))
table = pd.DataFrame(changes, columns=["experiment", "base", "differs in"])
table.set_index("experiment").rename_axis(None)

# %% [markdown]
# Four have no base. They begin from different places, so an experiment is compared with its own base, never across:
#
# - **CLIP**: a vision transformer of three blocks of width 64, which reads 48 pixels in patches of 8, and a text transformer of two blocks, trained from nothing for 600 steps of 128 pictures of two things. Three captions in ten state the relation, truthfully; in about half of those it is left or right.
# - **reader of CLS**: a mini LLaVA with a new projector, trained on questions and answers for 300 steps, reading the class token. The encoder is frozen, the language model is not new: it has learned to read patch tokens.
# - **converted, untaught**: a model of that architecture, with projector and language model initialised at random (“untaught”) on the frozen encoder, fine-tuned contrastively into an embedding model (“converted”) for 200 steps.
# - **short CLIP**: 60 steps, which you will repeat below.
#
# Sizes and learning rates were chosen so that CLIP learns the objects, not for any of the others. Captioners are trained for 2000 steps, on captions that all state the relation, because in 600 steps they had learned hardly anything; beside them stand matching models with the same.

# %%
runs = ablations.results()
recorded = runs.drop_duplicates(["family", "experiment", "seed"])
once = recorded.drop_duplicates(["experiment", "seed"])
hours = once["seconds"].sum() / 3600
print(f"{len(once)} runs, {hours:.1f} hours by the clock, on one core each")
recorded.groupby("family", sort=False).agg(
    experiments=("experiment", "nunique"),
    seeds=("seed", "nunique"),
    runs=("seed", "size"),
    hardware=("hardware", "first"),
)

# %%
missing = ablations.missing_runs(runs)
print(len(missing), "runs are planned and not on record")

# %% [markdown]
# `python -m erragree_utils.training.ablations --only tokens` makes a family again, and each recorded run names the command that made it.
#
# Mind that wherever this page speaks of a mini LLaVA, it's an *earlier* one than that of the other chapters: it read another small CLIP's frozen encoder, had no text before it saw images, and answered left and right as well. Its weights are in the project's history (commit a97ca0f). Today's command would use the mini LLaVA of today and give other numbers; the [tables' README](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/assets/ablations/README.md) names the runs that this is about.
#
# ## The measures
#
# Left/right pairs of `tabletop-a` and `tabletop-b`, 100 of each, with objects that training did not show. In per cent, means over the seeds, of the first two measures with 95% intervals over seeds and pairs:
#
# - **pair**: {term}`pair accuracy <Pair accuracy>` of choosing between the two captions, chance 25.
# - **relative**: {term}`relative preference <Relative preference>`, chance 50. Do the scores move the right way between the two images, whatever bias they have for one of the captions?
# - **objects**: does the own caption score best among those of 100 sets that state the same relation? Chance is 1. A model that has not learned objects says little about relations.
# - **probe**: a {term}`linear probe <Linear probe>` that compares the two vectors of a pair, tested on other pairs of kinds of objects, chance 50. It tells whether the side *is in* what is matched ([chapter 4](04_is_it_there.ipynb)'s “two compared”). Of models that read patch tokens it takes their mean, which is not what they read; of weighted patch tokens, those that the first caption selects.
#
# Scores are cosines, a captioner's log-likelihoods, or a reader's {term}`VQAScore`. Three seeds are few: an interval that barely leaves zero is a hint, no more. The tables of [the package](https://github.com/erroneous-agreements/erroneous-agreements/tree/main/erragree_utils/assets/ablations) hold every seed and every pair.
#
# ## Data
#
# Captions that state the relation: none, one in ten, three in ten (CLIP), all. {term}`Hard negatives <Hard negative>`: for each caption with a relation, the same with the opposite one is in the batch as a wrong answer {cite:p}`yuksekgonul2023bow`. Questions: half the captions are a question of LLaVA's kind with its answer, to be matched, not answered.

# %%
NO_OBJECTS = {
    "converted, no training",
    *FAMILIES["short"],
}  # not counted as contrastive trainings below
ablations.overview(runs, FAMILIES["data"])

# %% [markdown]
# Objects are learned, sides are not. With every caption stating the relation, or with the opposite caption of each in the batch, relative preference stays near one half, and pair accuracy far below the 25% of guessing. So it is not for want of captions that mention the relation, nor only because objects tell the captions of a batch apart, as they do not with hard negatives. Neither taught it in 600 steps. More steps help the objects; on sides no effect stands out. (Other captions do help: the *aligned* CLIP of [chapter 4](04_is_it_there.ipynb) matches left and right. Its captions use the two words as the viewer sees the scene, and it was trained for longer.)
#
# The probe, meanwhile, finds the side in all of these embeddings, by comparing the two images of a pair. The run of 60 steps below has as much, so little of it seems learned. But it is there, and matching does not use it.
#
# ## Objective
#
# The same encoder and the same captions, all of which state the relation, for 2000 steps: once to tell captions apart ({term}`contrastive <Contrastive objective, captioning objective>`), once to *write* them, as has been done at scale {cite:p}`tschannen2023captioners`. Each with the class token or with the patch tokens. The captioner's text side is CLIP's, with a layer that predicts words; the score of a caption is its log-likelihood. And, for the contrastive loss, batches of another size, which at equal steps see fewer or more pictures: with 32, hardly any objects are learned.

# %%
ablations.overview(runs, FAMILIES["objective"])

# %% [markdown]
# One line differs from the others. The scores of the captioner that reads *patch tokens* move the right way between the images of a pair far more often than chance. Those of the captioner that reads the *class token* do not, with the same objective, captions and steps; it has also found fewer objects.
#
# The four longer trainings once more, as a 2 × 2 design. Relative preference seed by seed, in per cent:

# %%
FOUR = {
    "relations 100%, 2000 steps": "matching, class token",
    "weighted patches, 2000 steps": "matching, patch tokens",
    "captioner of CLS": "captioning, class token",
    "captioner of patches": "captioning, patch tokens",
}
chosen = runs[(runs["metric"] == "relative") & runs["experiment"].isin(FOUR)]
chosen = chosen.drop_duplicates(["experiment", "seed", "benchmark"])
place = [chosen["benchmark"].str[-1].str.upper(), "seed"]
seeds = chosen.pivot_table("value", "experiment", place).mul(100).round()
seeds.loc[list(FOUR)].rename(FOUR).rename_axis(None).astype(int)

# %% [markdown]
# And its mean over A and B, with an interval over seeds and pairs. The last row is the difference of two differences: what patch tokens add to captioning, less what they add to matching.

# %%
matching, weighted, cls, patches = FOUR
means = {name: ablations.difference(runs, "relative", [e]) for e, name in FOUR.items()}
means["captioning with patch tokens, less the other three"] = ablations.difference(
    runs, "relative", [patches], [matching, weighted, cls]
)
means["difference of differences"] = 2 * np.array(
    ablations.difference(runs, "relative", [patches, matching], [cls, weighted])
)
(100 * pd.DataFrame(means, ["points", "low", "high"]).T).round(1)

# %% [markdown]
# Only captioning with patch tokens leaves one half. How far it gets differs from seed to seed: 2000 steps seem to end in the midst of learning, and with three seeds such intervals come out rather too narrow. It does not follow that it *answers* rightly. Its pair accuracy is low, on B below guessing, since it prefers one of the two captions whatever it sees, like the LLaVA of [chapter 7](07_contrastive_decoding.ipynb).
#
# So within this budget neither captioning with one vector nor patch tokens in a matching score of two vectors has been enough; captioning with patch tokens begins to be. Mind what the rows are: with the objective the *interface* changes, as it does between CLIP and LLaVA. A captioner's text side attends to image tokens while it predicts each word; a matching score compares one vector with one vector, also where that vector is a mean of patch tokens weighted by the text. A loss that tells captions apart with the captioner's interface would separate the two. We have not trained one.
#
# ## Tokens
#
# What is matched with the text: the class token (CLIP), the mean patch token, or patch tokens weighted by the text, as PACL does {cite:p}`mukhoti2023pacl`; those also with rotary position embeddings {cite:p}`su2021roformer`, or from an encoder without position embeddings. And what LLaVA reads: all patch tokens or only the class token, trained anew for each.

# %%
ablations.overview(runs, FAMILIES["tokens"])

# %% [markdown]
# Whatever is matched, sides stay where they were, and with patch tokens objects are found less often in as many steps. What is *read* makes the largest difference on this page: the earlier mini LLaVA with patch tokens tells nearly every pair apart and is right about most, with the class token it is at chance.
#
# That is an upper bound of what the tokens do. The language model had learned to read patch tokens before, the class token comes from the last layer and the patch tokens from the one before, and from the class token the reader has hardly found the objects in so few steps, although [they are there](04_is_it_there.ipynb). (A reader's “objects” are low in any case, perhaps because “yes” is near certain for several of 100 captions.) The two captioners above start equal, and both find objects.
#
# ## Text side
#
# The earlier mini LLaVA's language model as the text encoder, alone and with rotary patch tokens; several text tokens, whose scores are averaged.

# %%
ablations.overview(runs, FAMILIES["text"])

# %% [markdown]
# The language model as text encoder, which is twice as deep and wide as CLIP's and has learned this world's words, changes sides by nothing that stands out. *Several text tokens* raise pair accuracy on A, to a mean that is still below guessing, and more objects are found. There every word weights the patch tokens for itself, which is one step from a score of two vectors towards a reader. Whether it learns sides is open: relative preference lies above 50 on A, but its step beyond its base may be luck (see the ranking below), and a pair accuracy that nears 25 may be noise (exercise 1).
#
# ## Conversion
#
# The other way round: that mini LLaVA itself as a contrastive encoder, by the state of the last token, an image with a prompt on one side and a text on the other {cite:p}`jiang2024vlm2vec`. As it is (one model: three seeds have nothing to differ in); trained for 200 steps; and trained as long from the random beginning.

# %%
ablations.overview(runs, FAMILIES["conversion"])

# %% [markdown]
# As it is, its last state is no embedding: by cosine it does not even find objects. Yet the probe finds the side in nearly every pair of such states. After 200 steps of contrastive fine-tuning it finds them, and its pair accuracy is far below guessing, in a model that, *asked*, was right about nearly every pair, as the one of [chapter 3](03_same_encoder_new_reader.ipynb) is. What it knew is not lost: the probe finds far more of the side in its embeddings than in those of the untaught model, and relative preference on A is some points higher, which may be luck. But the score hardly uses it.
#
# ## The ranking
#
# Each change against its own base, on the same pairs and seeds, by its mean effect on A and B. The measure is relative preference, which a bias cannot hide and noise cannot raise. All changes are here, also those that found no objects. With so many, a few would leave zero by chance: *p* is corrected for their number by Holm's method.

# %%
ranked = ablations.ranking(runs)
shown = ranked[["base", "n_seeds", "p", "p_holm"]].round(3)
points = (100 * ranked.filter(like="difference")).round(1)
shown.join(points.set_axis(["points", "low", "high"], axis=1)).rename_axis(None)

# %% mystnb={"image": {"alt": "Changes ranked by their effect on relative preference, with 95% intervals, for benchmarks A and B, each named with its base. The readers and captioners of patch tokens stand out to the right; the others scatter around the line of no change."}}
labels = {name: f"{name}\nfrom {e.base}" for name, e in EXPERIMENTS.items()}
names = {"tabletop-a": "A", "tabletop-b": "B"}
found = ablations.effects(runs, "relative").reindex(ranked.index, level=0)
found = found.rename(labels, level=0).rename(names, level=1)
plots.grouped_dots(found, "difference", "Change of relative preference, in points", change=True)
plt.show()

# %% [markdown]
# Two changes are left after the correction, and both let a text side *read* patch tokens instead of one vector: the reader, which is the upper bound spoken of above, and the captioner. The intervals of the others are wide; several text tokens, for one, may help by ten points or not at all. CLIP's own relative preference happens to lie below 50 on A, so most changes from it point to the right there; that is luck of the base, not their merit. And three seeds are few for *p* to be taken at its word.
#
# ## Beside the paper
#
# The later version of the paper asks the same of models of the published size {cite:p}`li2025exploring`. By its abstract, patch tokens, position embeddings and prompt-based weighting are what helps; more training data alone or a stronger text encoder do not suffice, and more text tokens offer little. Left/right pair accuracy on What'sUp A and B, from second-hand notes that quote that version; the last two rows change the third, each by itself:

# %%
from erragree_utils.paper import published

models = pd.DataFrame(ablations.COUNTERPARTS, index=["reader", "our experiment"]).T
for name in ("A", "B"):
    sides = {"benchmark": f"whatsup-{name.lower()}", "relation": "left/right", "kind": "pair"}
    numbers = [published(reader=reader, version="v3", **sides) for reader in models["reader"]]
    models[f"paper {name}"] = [number.number for number in numbers]
ours = ablations.overview(runs, models["our experiment"])[["pair A", "pair B"]]
together = models.join(ours.set_axis(["ours A", "ours B"], axis=1), on="our experiment")
together[["paper A", "paper B", "our experiment", "ours A", "ours B"]]

# %% [markdown]
# We see what does *not* suffice as they do: captions, text encoder (ours was trained on this world, not on more text). We do not see the gain from patch tokens with positions, and several text tokens raise our pair accuracy on A, where they lower theirs. All of these numbers are below the 25% of guessing, so by exercise 1 they alone do not tell how much a model knows of sides.
#
# And one result is the other way round. Converted into CLIP-like encoders by contrastive fine-tuning, their models still outperform CLIP, says the abstract. Ours does so by the probe, and hardly by its score. 200 steps on a frozen encoder are no match for theirs.
#
# Others have come to the question from other sides. Small CLIPs trained on one-dimensional scenes do learn left and right, if the objects' names are diverse enough ([arXiv 2601.12809](https://arxiv.org/abs/2601.12809)), and CLIP acts like a bag of words *across* images and texts, though each by itself keeps what belongs to what ([arXiv 2502.03566](https://arxiv.org/abs/2502.03566)). That a space for the cosine of two single vectors cannot hold both what there is and where it is, whatever the training, has even been argued by proof ([arXiv 2503.08723](https://arxiv.org/abs/2503.08723)).
#
# ## A run of your own
#
# The shortest training, made again here, beside its recorded row. In 60 steps nothing is learned about objects, so 62 for relative preference on A is how far luck can go with one seed. The point is that the row comes out again.

# %%
with capture_output():  # of progress bars
    again = ablations.rerun("short CLIP")

# %%
key = ["benchmark", "metric"]
rows = runs.query("experiment == 'short CLIP' and seed == 0").set_index(key)
beside = rows[["value", "low", "high"]].join(again.set_index(key)["value"].rename("now"))
beside["inside"] = beside["now"].between(beside["low"] - 1e-6, beside["high"] + 1e-6)
difference = (beside["now"] - beside["value"]).abs().max()
print(f"largest difference: {difference:.6f}")
beside.round(3)

# %% [markdown]
# `ablations.rerun("CLIP", out="runs")` makes a full one; the pictures are rendered once and kept in that folder.
#
# ## The finding
#
# From the recorded runs, on the benchmarks' first draw. Intervals are over seeds and pairs; for probes, over pairs alone, since all seeds are tested on the same ones.

# %%
contrastive = [
    name for name, e in EXPERIMENTS.items()
    if e.settings().objective == "contrastive" and name not in NO_OBJECTS
]  # fmt: skip
ends = ["value", "low", "high"]
probes = runs[runs["metric"] == "probe"].drop_duplicates(["experiment", "seed"])
probes = probes.groupby("experiment")[ends].mean()
taught, untaught = probes.loc["converted"], probes.loc["converted, untaught"]
known = (
    (taught - untaught)["value"],
    taught["low"] - untaught["high"],
    taught["high"] - untaught["low"],
)
print(f"{len(contrastive)} contrastive trainings that find any objects")
probes.loc[["CLIP", "converted", "converted, untaught"]].round(2)

# %% tags=["finding", "hide-input"]
from erragree_utils import findings
from erragree_utils.findings import finding

asked = "In how many left/right pairs do a new model's scores move the right way?"
found_here = [
    finding(
        "Made again, the shortest training gives all recorded measures to within 5 points",
        difference, below=0.05, unit="points", seed=0,
    ),
    finding(
        "Patch tokens give a reader over 20 points more relative preference than the class token",
        ablations.difference(runs, "relative", ["reader of patches"], ["reader of CLS"]),
        above=0.2, unit="points", seed=0,
    ),
    finding(
        "Captioning from patch tokens ends with a relative preference above one half",
        ablations.difference(runs, "relative", ["captioner of patches"]), above=0.5, seed=0,
        question=asked, who="captioning from patch tokens", chance=0.5,
    ),
    finding(
        "Captioning from patch tokens ends with a higher relative preference than contrastive "
        "trainings, by more than 3 points",
        ablations.difference(runs, "relative", ["captioner of patches"], contrastive),
        above=0.03, unit="points", seed=0,
    ),
    finding(
        "A probe that compares two vectors of this page's CLIP is right for more than 65%",
        tuple(probes.loc["CLIP"]), above=0.65, seed=0,
    ),
    finding(
        "A probe finds more of the side in the converted LLaVA than in the untaught one",
        known, above=0, unit="points", seed=0,
    ),
]  # fmt: skip
for letter in "AB":
    here = runs[runs["benchmark"] == f"tabletop-{letter.lower()}"]
    found_here += [
        finding(
            f"Contrastive trainings together answer fewer than 15% of pairs on {letter}",
            ablations.difference(here, "pair", contrastive), below=0.15, seed=0,
        ),
        finding(
            f"Relative preference of contrastive trainings together is within 8 points of one half on {letter}",
            ablations.difference(here, "relative", contrastive), above=0.42, below=0.58, seed=0,
            question=asked, who=f"contrastive trainings, {letter}", chance=0.5,
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# Why does the reader see more than the matching score? Taken apart in this small world, within these trainings:
#
# - **Not more relations in the captions, nor harder wrong answers.** Neither taught a matching model sides in 600 steps. Of the five changes that the prediction asked about, these two did nothing that stands out, and neither did patch tokens in the score or the language model on the text side. Writing captions did, where patch tokens are read. A score in which every word looks at the patch tokens for itself is the next candidate, and open.
# - **Not writing alone, nor patch tokens alone.** Captioning from one vector stayed near one half, and so did matching with patch tokens. Predicting words *from patch tokens* began to work, with the encoder's size, pictures, captions and steps unchanged.
# - **Knowledge alone is not enough, in 200 steps.** A model that knows sides, turned into a matching model, holds them in its embeddings, and its score hardly shows it.
#
# It fits the earlier chapters. The patch tokens hold the side in their places, a single vector keeps a trace, and a score that compares two vectors has to *align* that trace with the words. Why training leaves it unaligned we have not shown: that objects alone tell captions apart is not the whole reason, as hard negatives say.
#
# ```{admonition} What a mini world can say, and what not
# :class: note
# It can show that a factor *is enough* here, since all else is the same, or has not been enough within a budget. It cannot say that the same factor rules at a thousand times the size, with photographs and with captions that people wrote. There a contrastive loss sees batches of thousands for a much longer time, and what such a batch holds we do not know. What can be carried over is the design: which comparisons would tell.
# ```
#
# ## What could be wrong
#
# - **The logit scale.** CLIP's cosines are multiplied by a learned scale before the loss, whose inverse is the temperature. The tables do not record how far it grew in runs as short as these. The published CLIP's was kept from exceeding 100 {cite:p}`radford2021clip`; that of chapter 2 is fixed at 100. A sharper loss presses harder on what is nearly alike.
# - **Short trainings.** 600 steps, or 2000. “Does not learn it” is “not within these”. The shipped mini CLIP, trained for eight times as many steps, fails as well ([chapter 2](02_clip_matching.ipynb)), but of the others we cannot say.
# - **Equal steps are not equal effort.** A captioner of patch tokens reads more and takes half as long again for a step as one of the class token, or more. The `seconds` of each run are in the tables, on a machine that did other work too.
# - **One setting for all.** Learning rates are CLIP's. A factor may fail because its own best rate is another one.
# - **Learned, or found fewer objects?** The runs differ in how many objects they find. Where these are few, sides cannot be expected.
# - **Single changes.** Rotary positions *and* captions that state every relation *and* more steps, together, may do what none does alone. One pair of factors is crossed here, not all.
# - **The reader starts ahead.** The mini LLaVA's language model was trained on questions about sides before its projector was replaced. Its two rows tell patch tokens from the class token, not LLaVA from CLIP.
# - **The captioner is not done.** Its scores move the right way, and it answers few pairs rightly. That more steps would take it further is a guess that exercise 4 tests.
#
# ## Exercises
#
# **1.** A change raises pair accuracy from 3 to 10%. Chance is 25. Has the model learned something about sides?
#
# ```{admonition} Solution
# :class: dropdown
# Not necessarily. Pair accuracy below 25% means that the two images of a pair mostly get the same answer. More noise between them would raise it to 25 without any knowledge. Relative preference tells: it has to leave 50%.
# ```
#
# **2.** How far do the seeds differ? Show pair accuracy of each seed for the experiments of one family, and compare with the intervals over pairs.
#
# ```{admonition} Solution
# :class: dropdown
#
#     rows = runs.query("family == 'data' and metric == 'pair' and benchmark == 'tabletop-a'")
#     rows.pivot(index="experiment", columns="seed", values="value")
#
# `low` and `high` of a row are its interval over pairs, for that seed alone.
# ```
#
# **3.** Two factors, two settings each: what would the 2 × 2 design look like if objective and tokens acted independently?
#
# ```{admonition} Solution
# :class: dropdown
# The step from class token to patch tokens would be as large in both rows. Here it is near zero in one and large in the other: an interaction.
# ```
#
# **4.** Is the captioner of patch tokens in the midst of learning? Train it half as long again: `ablations.rerun("captioner of patches", out="longer", steps=3000)` takes a quarter of an hour on one core.
#
# ```{admonition} Solution
# :class: dropdown
# Compare `relative` and `pair` of A with the recorded rows. If relative preference nears 100 while pair accuracy stays low, what is left is the bias; give the table of [chapter 7](07_contrastive_decoding.ipynb) a thought.
# ```
#
# **5.** Plan the training that is missing most, in your view, as an `Experiment`: a name, a base, one change. Then train it for one seed; `erragree_utils/training/ablations/experiments.py` is the place, and `--experiment NAME --seeds 0` runs it in a few minutes.
#
# ```{admonition} Solution
# :class: dropdown
# There are many. A captioner with few relations in its captions; a contrastive loss in batches from one place with the same two objects, where only the relation tells captions apart.
# ```
#
# ## In this chapter you learned
#
# - “The way CLIP is trained” is objective, data, tokens and text side at once; each can be changed alone in a small world.
# - There, neither data nor a language model nor patch tokens alone taught a matching model left and right within the budget; a text side that reads patch tokens and predicts words learned it, or began to.
# - A model that knows sides hardly matched by them after 200 steps: what a score shows depends on what was asked of it.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`li2025exploring`, {cite:t}`radford2021clip`, {cite:t}`yuksekgonul2023bow`, {cite:t}`mukhoti2023pacl`, {cite:t}`su2021roformer`, {cite:t}`jiang2024vlm2vec`, {cite:t}`tschannen2023captioners`; full entries under [References](../book/references.md).
