# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # To see left and right, the text side has to ask
#
# **On frozen patch tokens, a text side that knows left and right is what counts. A matching score whose texts come from LLaVA's language model tells them apart, even where CLIP's own embedding has lost the side. With CLIP's text vectors, it doesn't.**
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
# **You will** read a comparison of small heads on frozen encoders that differ in one thing each: what is read of the image, what stands on the text side, and what they are trained to do.
#
# **You will learn** which of these lets a score tell left from right in the tabletop world, what the paper's later version found for the same steps, and why “it is the way CLIP is trained” has to be taken apart before it can be tested.
#
# **You need** chapters [2](02_clip_matching.ipynb) to [4](04_is_it_there.ipynb), and [relative preference](08_two_images.ipynb) from chapter 8. Two CPU cores and about a minute: the page draws from recorded runs, and makes the shortest of them again. It is the same at both {term}`scales <Mini scale, paper scale>`.
#
# ## The question
#
# CLIP's matching fails where LLaVA, on the same frozen encoder, succeeds. But LLaVA differs from CLIP in many ways at once. It predicts words instead of telling the captions of a batch apart, it reads all patch tokens and not one vector, and its text side knows more. To say which of these matters, we have to train models that differ in *one* of them.
#
# The later version of the paper does this for CLIP ViT-L/14-336: it keeps CLIP frozen, trains small heads on it, and changes one thing after another {cite:p}`li2025exploring`. We do the same with our two mini CLIPs: *hidden* (`mini`), whose embedding holds the side although its texts don't ask for it, and *lost*, whose embedding has lost it.
#
# ```{admonition} Predict before you go on
# :class: predict
# Take the frozen *hidden* CLIP. You may change one thing: match on patch tokens instead of one vector, tell the heads where each patch is, put the opposite of each left/right caption into the batch as a wrong answer, take the texts' vectors from LLaVA's language model, or train a head to *write* the caption. Which of these will tell left from right? And which will still work if the encoder has *lost* the side?
# ```

# %% tags=["hide-input"]
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.utils.capture import capture_output

from erragree_utils.measures.accuracy import in_percent
from erragree_utils.models import ASSETS
from erragree_utils.paper import published
from erragree_utils.training import ladder
from erragree_utils.training import ladder_tables as tables

# %% [markdown]
# ## One thing changes at a time
#
# Each run trains a head on 4000 scenes that no other seed has, each with four captions. In these captions left and right are nearly always the viewer's, as in those of the *aligned* CLIP; some runs have captions as *hidden*'s `own`, see below. The runs are recorded, and each can be made again with `python -m erragree_utils.training.ladder`:

# %%
runs = tables.read_table()
trained = runs[runs["rung"] != tables.AS_IT_IS].drop_duplicates(tables.KEY)
hours = trained["seconds"].sum() / 3600
print(f"{len(trained)} runs, {hours:.1f} hours of training on a CPU core")
trained.groupby(["model", "captions"]).agg(heads=("rung", "nunique"), runs=("rung", "size"))

# %% [markdown]
# We ask about 300 left/right pairs of each benchmark, with objects that training didn't show:
#
# - **{term}`pair accuracy <Pair accuracy>`** of choosing between the two captions; chance is 25%.
# - **{term}`relative preference <Relative preference>`**: do the scores move the right way between the two images, whatever bias they have for one of the captions? Chance is 50%.
# - **objects**: does a caption score its own image best, among 25 images that show the same relation? Chance is 4%. If a head doesn't know objects, its sides say little.
#
# Scores are cosines, or a captioner's log-likelihoods. Intervals are over seeds and pairs; objects are a check, so they go without.
#
# ## Writing from patch tokens tells left from right
#
# The first comparison crosses two factors. The *objective*: tell the captions of a batch apart, as CLIP does, or write the caption, as has been done at scale {cite:p}`tschannen2023captioners`. And what is *read*: CLIP's final embedding, or its patch tokens. Both objectives use the same small text transformer, trained from scratch. (When it matches, patch tokens are weighted by the text and summed, as in PACL {cite:p}`mukhoti2023pacl`. When it writes, it attends to them.)


# %% tags=["hide-input"]
def table_of(rungs, model="hidden", third="pair", runs=runs, captions="aligned"):
    """Shares of some heads in per cent, with their intervals."""
    measured = {"relative A": "relative", "relative B": "relative", f"{third} A": third,
                "objects A": "retrieval"}  # fmt: skip
    name, rows = f"head on {model}", {}
    for rung in rungs:
        row = rows.setdefault(rung, {})
        for column, metric in measured.items():
            where = {"model": model, "benchmark": f"tabletop-{column[-1].lower()}"}
            found = tables.estimate(runs, rung, metric, captions=captions, **where)
            row |= dict(zip([column, f"{column}_low", f"{column}_high"], found, strict=True))
        del row["objects A_low"], row["objects A_high"]  # a check, and the table is wide
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis(name)
    return in_percent(frame, {column: column for column in measured})


FOUR = [tables.ONE, tables.MATCHES_PATCHES, tables.WRITES, tables.WRITES_PATCHES]
table_of(FOUR)

# %%
table_of(FOUR, "lost")

# %% [markdown]
# Read the column *relative A* first. On *hidden*, the head that writes from patch tokens tells nearly all pairs apart, and writing from one vector doesn't come near it. Matching on patch tokens gets part of the way, and how far depends on the seed:

# %%
by_seed = {
    tuple(rung.split(", ")): tables.matrix(runs, rung, "relative", benchmark="tabletop-a")
    for rung in FOUR
}
by_seed = pd.DataFrame({head: shares.mean(axis=1) for head, shares in by_seed.items()})
(100 * by_seed.rename_axis("relative A (%), seed")).round().astype(int)

# %% [markdown]
# On *lost*, the same head that writes from patch tokens is above chance too, but it's far from done: the tokens still hold the side, though not in a way that's easy to read. No head that matches with this text side finds it there. So reading patch tokens isn't enough, and writing isn't either; together they are, if the encoder makes the side plain. (Does writing beat matching from the *same* tokens? In most seeds it does, but the seeds differ so much that the ranking below can't be sure.)
#
# **On B, none of the four gets anywhere.** There, captions name either object first, so that the head has to bind a side to a name. Within these steps no seed reached that. The mini LLaVA learned it, from far more questions.
#
# ### Is that a plateau?
#
# Let's call it one if twice as many steps move relative preference by less than 5 points. Here's the head that writes from patch tokens, after the usual steps and after twice as many:

# %%
longer = tables.read_table(tables.TABLES / "longer" / "measures.csv")
moved = {}
for name in "AB":
    where = {"benchmark": f"tabletop-{name.lower()}"}
    for steps, table in (("", runs), (", twice the steps", longer)):
        found = tables.matrix(table, tables.WRITES_PATCHES, "relative", **where)
        moved[f"{name}{steps}"] = found.mean(axis=1)
(100 * pd.DataFrame(moved).dropna().rename_axis("relative (%), seed")).round().astype(int)

# %% [markdown]
# On average over these seeds, twice the steps move it by less than 5 points, so by our criterion it's a plateau: on A near 100%, on B at chance. But the seeds differ, and one of them *lost* more than that on A. These are the only heads that we trained for longer.
#
# ### LLaVA's stages
#
# LLaVA isn't trained all at once. Its language model knows words before it sees an image, then the projector alone is trained, then both. Does the vector do better if we go about it like that? Here are the two captioners again, trained in these three stages:

# %%
STAGED = [tables.STAGED_ONE, tables.STAGED_PATCHES]
table_of(STAGED)

# %% [markdown]
# From one vector, the stages change nothing that we can measure. From patch tokens they lose rather than gain, though the seeds end so far apart that the interval is wide. So the order of training isn't what lets LLaVA see more.
#
# ## On the authors' ladder, a language model's texts make the difference
#
# The later version of the paper trains all its heads to match, and climbs a ladder: patch tokens, then rotary positions {cite:p}`su2021roformer`, and from there either several text tokens or the texts' vectors from a language model. Here are the same steps on *hidden*, at our size: the authors train with batches of 4096 for ten epochs at a learning rate of 1e-4, we with batches of 128 for a thousand steps from 3e-3 down; the heads, the weights of patches and the temperature are theirs. The texts' vectors are CLIP's own, but for the last step, where they come from the mini LLaVA's language model:

# %% tags=["hide-input"]
rows = {}
for rung, reader in tables.PUBLISHED.items():
    row = rows.setdefault(rung, {})
    for name in "AB":
        sides = {"benchmark": f"whatsup-{name.lower()}", "relation": "left/right", "kind": "pair"}
        row[f"paper, {name}"] = published(reader=reader, version="v3", **sides).value
        where = {"benchmark": f"tabletop-{name.lower()}"}
        found = tables.estimate(runs, rung, "pair", **where)
        ends = [f"ours, {name}", f"ours, {name}_low", f"ours, {name}_high"]
        row |= dict(zip(ends, found, strict=True))
beside = pd.DataFrame.from_dict(rows, orient="index").rename_axis("pair accuracy")
columns = [f"{who}, {name}" for name in "AB" for who in ("paper", "ours")]
in_percent(beside, {column: column for column in columns})

# %% [markdown]
# (The paper's numbers are of What'sUp, from second-hand notes that quote that version.) Until the last step, both stay below the 25% of guessing. Below it they part already: rotary positions double the paper's share and don't move ours, and several text tokens take theirs to zero and not ours. The last step is where it matters. With a language model as the text encoder, our pair accuracy on A rises far above guessing, and theirs falls.
#
# Which of us is right? Perhaps both. Their language model had never been asked about images. Ours is the mini LLaVA's, which has been tuned on questions about left and right in this world. So our step says that the *image side* isn't what was missing: the same frozen tokens, under the same head, are enough once the texts' vectors tell left from right. Relative preference, objects, and a probe of the side on what the head makes of the image:

# %%
LADDER = [*tables.PUBLISHED, "rotary positions in 2-D"]
table_of(LADDER, third="probe")

# %% [markdown]
# Objects pay for it: the language model's vectors find the right one of 25 images less often than CLIP's. And we don't see a gain from positions. The tokens of *hidden* say where they are already ([chapter 3](03_same_encoder_new_reader.ipynb)). The probe adds the moral of [chapter 4](04_is_it_there.ipynb): the side is in every head's image vector, whether its score asks for it or not.
#
# The same ladder on *lost*:

# %%
table_of(LADDER, "lost", third="probe")

# %% [markdown]
# Here it shows best. Matched with CLIP's own texts, the patch tokens of *lost* say nothing about sides, with positions or without. Matched with a language model's texts, the very same tokens tell nearly all pairs of A apart. The probe says that heads bring more of the side into the image's vector if they know positions, and most if the texts ask.
#
# ## LLaVA's last state can be matched; sharper losses and hard negatives help some seeds
#
# The authors' loss uses a temperature of a tenth. CLIP's own logit scale of a hundred is sharper, and presses harder on what is nearly alike. With it, we also add {term}`hard negatives <Hard negative>`: each caption of left or right comes with its opposite as a wrong answer {cite:p}`yuksekgonul2023bow`. And the other way round, LLaVA itself can be turned into an encoder {cite:p}`jiang2024vlm2vec`: we match the last state of the mini LLaVA, after “Describe the image.”, and train nothing but the head.

# %%
controls = [name for name in tables.CHANGED if "logit" in name or "negatives" in name]
table_of([*controls, tables.LLAVA])

# %% [markdown]
# A sharper loss and hard negatives move some seeds, and others not. The ranking below says which changes are more than luck. LLaVA's last state tells most pairs apart, on B as well, but not in every seed:

# %%
of_llava = {
    name: tables.matrix(runs, tables.LLAVA, "relative", benchmark=f"tabletop-{name.lower()}")
    for name in "AB"
}
by_seed = pd.DataFrame({name: shares.mean(axis=1) for name, shares in of_llava.items()})
(100 * by_seed.rename_axis("relative (%), seed")).round().astype(int)

# %% [markdown]
# It *has* read the patch tokens, and what it read survives as one vector that a contrastive head can use. So a single vector isn't the obstacle by itself either.
#
# ## Of all changes, few stand out
#
# Each change against the head that it's compared with, on the same pairs and seeds, by its mean effect on A and B. All recorded changes are here. With so many, a few would leave zero by chance, so *p* is corrected for their number by Holm's method (and since it comes from 4000 resamples, it can't fall below about .01 after that). Choose a box to see only what acts through it:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What moves the score most is the text side: with a language model's texts, the same frozen tokens tell left from right."}}
from erragree_utils.plots import live

boxes = {
    "what captions say": (0.12, 0.88, "varied"),
    "objective": (0.12, 0.5, "varied"),
    "frozen CLIP": (0.12, 0.12, "fixed"),
    "text side": (0.42, 0.88, "varied"),
    "what is read of the image": (0.42, 0.12, "varied"),
    "score of an image\nand a caption": (0.66, 0.5, "measured"),
    "side:\nrelative preference": (0.87, 0.88, "measured"),
    "objects:\nretrieval": (0.87, 0.12, "measured"),
}
captions, objective, frozen, text, read, score, side, objects = boxes
arrows = [
    (captions, text), (objective, text), (objective, read), (frozen, read),
    (text, score), (read, score), (score, side), (score, objects),
]  # fmt: skip
ranked = tables.ranking(runs)
named = ranked["name"] + ", " + ranked["model"]
points = ranked[["estimate", "low", "high"]].mul(100)
live.effects(points.assign(name=named, factor=ranked["factor"], paper=np.nan), boxes, arrows)

# %%
sure = ranked[ranked["p"] < 0.05].drop(columns="factor").set_index("name")
sure = sure.rename(columns={"low": "estimate_low", "high": "estimate_high"})
shown = in_percent(sure, {"estimate": "change of relative preference"})
shown.assign(model=sure["model"], p=sure["p"].round(3))

# %% [markdown]
# These are the changes that are left after the correction.
#
# ## Captions that mean the viewer's left matter, too
#
# All heads above read captions in which left and right are the viewer's. What if they aren't? *Hidden*'s own captions say left and right seldom, and half of the time as seen from across the table. Here are the four heads of the first table again, trained on such captions:

# %%
table_of(FOUR, captions="own")

# %% [markdown]
# With captions like these, no head tells left from right reliably, not even the one that writes from patch tokens. So captions that mean the viewer's left are a condition for everything above: objective and patch tokens decide only what is made of them.
#
# The same holds for whole CLIPs. *Hidden* and *aligned* ([chapter 4](04_is_it_there.ipynb)) have the same architecture and the same pictures, and differ in these captions (*aligned* also had a second stage for its texts). Here they are beside each other, means over three training seeds:

# %%
organisms = pd.read_csv(ASSETS / "organisms" / "measures.csv")
organisms = organisms[organisms["metric"].isin(["pair", "relative"])]
names = organisms["metric"] + " " + organisms["benchmark"].str[-1].str.upper()
means = organisms.assign(measure=names).pivot_table("value", "organism", "measure")
in_percent(means.rename_axis(None, axis=1))

# %% [markdown]
# So captions matter a great deal.
#
# ## In a run of your own, the text side decides within seconds
#
# The shortest runs, made again here: 200 steps on 400 scenes, with CLIP's own text vectors and with those of LLaVA's language model. The recorded rows stand beside them:

# %%
rungs = [tables.PATCHES, tables.LANGUAGE_MODEL]
with capture_output(), tempfile.TemporaryDirectory() as folder:  # of progress bars
    made = list(ladder.run("hidden", "aligned", 0, rungs, Path(folder), **ladder.SHORT))
again, short = pd.concat(made), tables.read_table(tables.TABLES / "short" / "measures.csv")

key = ["rung", "benchmark", "metric"]
values = {"now": again.set_index(key)["value"], "recorded": short.set_index(key)["value"]}
both = pd.DataFrame(values).dropna().xs("relative", level=2)
in_percent(both.rename(lambda name: name[-1].upper(), level=1))

# %% [markdown]
# It takes seconds, and the text side makes the difference already.
#
# ## What we found
#
# From the recorded runs, on draws of the benchmarks that nothing else uses.

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import finding

asked = (
    "We train new heads on the frozen encoder. "
    "For how many left/right pairs of A do their scores shift the right way?"
)
claim = partial(finding, seed=0)  # the recorded runs are the same for every draw
on_a = partial(tables.estimate, metric="relative", benchmark="tabletop-a")
findings.show([
    claim(
        "Made again, the short run with a language model's texts beats the one with CLIP's on A",
        on_a(again, tables.LANGUAGE_MODEL, minus=tables.PATCHES),
        above=0, unit="points",
    ),
    claim(
        "A head that writes captions from the patch tokens has a relative preference above 80% on A",
        on_a(runs, tables.WRITES_PATCHES), above=0.8,
        question=asked, who="writing from patch tokens", chance=0.5,
    ),
    claim(
        "Writing from patch tokens gives over 20 points more relative preference on A than "
        "writing from one vector",
        on_a(runs, tables.WRITES_PATCHES, minus=tables.WRITES),
        above=0.2, unit="points",
    ),
    claim(
        "Patch tokens matched with a language model's texts have a relative preference above 90% on A",
        on_a(runs, tables.LANGUAGE_MODEL), above=0.9,
        question=asked, who="matching a language model's texts", chance=0.5,
    ),
    claim(
        "On the same tokens, a language model's texts give over 10 points more relative preference "
        "on A than CLIP's",
        on_a(runs, tables.LANGUAGE_MODEL, minus=tables.ROTARY),
        above=0.1, unit="points",
    ),
    claim(
        "With CLIP's own texts, matching on patch tokens stays below 80% relative preference on A",
        on_a(runs, tables.PATCHES), below=0.8,
        question=asked, who="matching CLIP's texts", chance=0.5,
    ),
    claim(
        "Where the encoder has lost the side, matching patch tokens with CLIP's texts stays within "
        "15 points of one half on A",
        on_a(runs, tables.PATCHES, model="lost"),
        above=0.35, below=0.65,
    ),
    claim(
        "Even there, matching the same patch tokens with a language model's texts has a relative "
        "preference above 80% on A",
        on_a(runs, tables.LANGUAGE_MODEL, model="lost"),
        above=0.8,
    ),
])  # fmt: skip

# %% [markdown]
# ## What it means
#
# Why does the reader see more than the matching score? Taken apart in this small world:
#
# - **The text side has to ask.** With CLIP's own text vectors, no head on the image side made the score tell left from right reliably. With a language model's, the plainest of them did.
# - **Writing asks by itself.** A head that predicts words from patch tokens learned left and right from captions alone. From one vector it didn't, within these steps, although a probe finds the side in that vector.
# - **Captions have to mean it.** Where left and right are as often meant from across the table, none of these heads learned them.
# - **The encoder still counts, but less than one would think.** Where the side is lost from the embedding, the patch tokens hold it. Heads that had to learn words from scratch hardly found it there; the one whose texts knew left and right did.
# - **One vector is no obstacle in principle.** LLaVA's last state is one vector, and in most seeds it can be matched.
#
# It fits the earlier chapters:
#
# ```{admonition} Key idea
# :class: key-idea
# The information is there, and what CLIP's score lacks is a text side that asks for it.
# ```
#
# ```{admonition} What a mini world can say, and what not
# :class: note
# It can show that a factor *is enough* here, since all else is the same, or has not been enough within a budget. It can't say that the same factor rules at a thousand times the size, with photographs and with captions that people wrote. What can be carried over is the design: which comparisons would tell.
# ```
#
# Others have come to the question from other sides. Small CLIPs trained on one-dimensional scenes do learn left and right, if the objects' names are diverse enough ([arXiv 2601.12809](https://arxiv.org/abs/2601.12809)). CLIP acts like a bag of words *across* images and texts, though each by itself keeps what belongs to what ([arXiv 2502.03566](https://arxiv.org/abs/2502.03566)). That a space for the cosine of two single vectors can't hold both what there is and where it is has even been argued by proof ([arXiv 2503.08723](https://arxiv.org/abs/2503.08723)).
#
# ## What could be wrong
#
# - **Equal steps are not equal effort.** A head that writes has a batch of 32 captions, one that matches has 64 or 128, and each has one learning rate. We chose these so that objects are learned, and didn't search for the best.
# - **B is out of reach.** “Doesn't tell left from right on B” means “not within these steps and scenes”.
# - **The language model was taught.** Its texts know this world's left and right from LLaVA's tuning. That's the point of the comparison, but it's no independent language model.
# - **One encoder of each kind.** Seeds differ in scenes, captions, first weights and order, but all read the same two frozen CLIPs.
# - **Few seeds.** Most heads have five, those with captions of their own and in LLaVA's stages three. With so few, intervals over seeds come out rather too narrow.
# - **Some heads know fewer objects.** Where the objects column is low, read the sides with care.
#
# ## Exercises
#
# **1.** A change raises pair accuracy from 3 to 10%. Chance is 25. Has the head learned something about sides?
#
# ```{admonition} Solution
# :class: dropdown
# Not necessarily. Pair accuracy below 25% means that the two images of a pair mostly get the same answer. More noise between them would raise it to 25 without any knowledge. Relative preference tells: it has to leave 50%.
# ```
#
# **2.** Does a probe find the side in what a head matches? Show the `probe` rows of the ladder, for both models.
#
# ```{admonition} Solution
# :class: dropdown
#
#     rows = runs.query("metric == 'probe' and benchmark == 'tabletop-a'")
#     rows.pivot_table("value", "rung", "model").round(2)
#
# On *hidden* it's near 1 in most rows, also where the score is at chance.
# ```
#
# **3.** Two factors, two settings each: what would the first table look like if objective and what is read acted independently?
#
# ```{admonition} Solution
# :class: dropdown
# The step from one vector to patch tokens would be as large for matching as for writing.
# ```
#
# ## In this chapter you learned
#
# - “The way CLIP is trained” is objective, data, tokens and text side at once, and each can be changed alone on a frozen encoder.
# - Patch tokens alone don't make a matching score tell left from right. A text side that knows the words does.
# - A head that writes captions finds left and right in patch tokens that CLIP's own texts don't ask about.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`li2025exploring`, {cite:t}`yuksekgonul2023bow`, {cite:t}`mukhoti2023pacl`, {cite:t}`su2021roformer`, {cite:t}`jiang2024vlm2vec`, {cite:t}`tschannen2023captioners`; full entries under [References](../book/references.md).
