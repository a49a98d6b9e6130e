# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # On CLIP-blind pairs, LLaVA fails too
#
# **Images that CLIP takes for nearly the same, and that a vision-only encoder keeps apart, are hard for LLaVA too: it gives both the same answer. The more alike CLIP finds them, the less of the difference reaches the answer.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/06_clip_blind_pairs.ipynb)

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
# **You will** mine pairs of images that CLIP takes for nearly the same, ask LLaVA about them, and see where it fails.
#
# **You will learn** how MMVP was made, what its nine visual patterns are, and what the cosine does tell: how much of a difference survives.
#
# **You need** [chapter 3](03_same_encoder_new_reader.ipynb), and signal and bias from [chapter 2](02_clip_matching.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and less than a minute. At paper scale: a GPU of 15 GB or more, and network for weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 15 to 19 min; L4: 19 GiB, 7 to 9 min; A100 40 GB: 19 GiB, 4 to 5 min; H100 80 GB: 19 GiB, 1 to 2 min.
#
# ## If LLaVA reads left and right, why not these?
#
# LLaVA answers left/right questions about pairs with a cosine above 0.99. Then CLIP-blind pairs shouldn't trouble it either. But {term}`MMVP`, a benchmark made of such pairs, troubles all models that its authors tested {cite:p}`tong2024eyes`. Does LLaVA fail there because CLIP is blind after all?
#
# ## Mining takes two encoders
#
# {cite:t}`tong2024eyes` took a large collection of images and two encoders: CLIP, and DINOv2 {cite:p}`oquab2024dinov2`, which never saw a word. A {term}`CLIP-blind pair` is one that CLIP takes for nearly the same image, cosine above 0.95, and the vision-only encoder doesn't, cosine below 0.6. People then looked at the pairs, described the difference and wrote a question about it.
#
# At mini scale the collection is rendered, and the vision-only encoder is a small one that was trained on tabletop pictures without captions, by telling views of one picture from all others. Every candidate differs in exactly one respect, so its question is known. `tabletop-mmvp` are candidates on record that pass both thresholds. At paper scale the pairs are MMVP's own, and the encoder is DINOv2.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from erragree_utils import evaluate, load_benchmark, load_clip, load_mllm, plots, start, summarize
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import as_points, compare
from erragree_utils.models.vision import load_vision

scale = start()
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
vision = load_vision(scale.vision)
mllm = load_mllm(scale.mllm)
pairs = load_benchmark(scale.mmvp, **scale.draw)
warnings.filterwarnings("ignore", "texts with words")  # "points" is none of the mini CLIP's
print(f"{len(pairs)} pairs\n{pairs.source}")

# %% [markdown]
# Let's find them again: all images in one heap, shuffled, and every pair in it is looked at, not only those that belong together.

# %%
from erragree_utils.measures.mining import mine_blind_pairs

owners = [(pair.pair_id, i) for pair in pairs for i in (0, 1)]
order = np.random.default_rng(0).permutation(len(owners))
heap = [image for pair in pairs for image in pair.images]
heap = [heap[place] for place in order]
rows = {"clip": clip.embed_images(heap), "vision": vision.embed_images(heap)}
above, below = scale.blind_above, scale.blind_below
mined = mine_blind_pairs(rows["clip"], rows["vision"], above, below, k=None)
names = np.array([owners[place][0] for place in order])
together = int((names[mined["i"]] == names[mined["j"]]).sum())
print(f"{len(heap) * (len(heap) - 1) // 2} pairs of images, {len(mined)} of them CLIP-blind")
print(f"{together} of the {len(pairs)} pairs of the benchmark are among them")

# %% [markdown]
# (At paper scale expect fewer: MMVP was mined with its authors' versions of both encoders, and its published list holds what people kept.)
#
# {cite:t}`tong2024eyes` sorted what such pairs differ in into nine visual patterns. Of MMVP's pairs the pattern wasn't published. So wherever this page speaks of patterns at paper scale, it takes the pairs of MMVP-VLM, by the same authors: 15 of each pattern, with a statement for each image and no question. At mini scale the same pairs have patterns and questions.

# %%
from erragree_utils.measures.agreement import cosine

if scale.name == "mini":
    patterned, embedded = pairs, [table[np.argsort(order)] for table in rows.values()]
else:
    patterned = load_benchmark(scale.mmvp_vlm)
    every = [image for pair in patterned for image in pair.images]
    embedded = [model.embed_images(every) for model in (clip, vision)]
of_clip, of_vision = (table.reshape(len(patterned), 2, -1) for table in embedded)
cosines = pd.DataFrame({
    "relation": [pair.relation for pair in patterned],  # the pattern
    "clip_cosine": cosine(of_clip[:, 0], of_clip[:, 1]),
    "vision_cosine": cosine(of_vision[:, 0], of_vision[:, 1]),
}, index=[pair.pair_id for pair in patterned])  # fmt: skip

# %% mystnb={"image": {"alt": "Nine pairs of images, one for each visual pattern, each pair side by side with its two cosines above and its two answers below. Within a pair the images look alike but for one detail."}}
firsts = [patterned.select(pattern)[0] for pattern in patterned.relations]
if scale.name == "mini":  # the same, drawn larger than the models see them
    firsts = load_benchmark(scale.mmvp, n_pairs=1, size=224, supersample=3, **scale.draw)
notes = [
    "{}\nCLIP {:.3f}, vision-only {:.2f}".format(
        pair.relation, *cosines.loc[pair.pair_id, ["clip_cosine", "vision_cosine"]]
    )
    for pair in firsts
]
plots.question_pairs(firsts, notes)
plt.show()

# %% [markdown]
# ```{admonition} Before you go on
# :class: tip
# Of which pattern will LLaVA get most pairs right, and of which hardly any? And CLIP, which has to match each image with its answer as a statement? The table shows how many of MMVP's pairs the real models answer rightly, by second-hand notes that quote {cite:t}`li2024erroneous`.
# ```

# %%
from erragree_utils.paper import published_table

in_paper = published_table(benchmark="mmvp", kind="pair", methods=("matching", "greedy"))
in_paper[["published", "protocol", "source"]]

# %% mystnb={"image": {"alt": "Scatter plot: cosine under CLIP against cosine under the vision-only encoder. The pairs of the benchmark, coloured by visual pattern, lie at the right edge, above a CLIP cosine of 0.95, and below the threshold of the vision-only encoder. Random pairs of images lie to the lower left."}}
random = pd.DataFrame(
    {
        "clip_cosine": (rows["clip"][::2] * rows["clip"][1::2]).sum(axis=1),
        "vision_cosine": (rows["vision"][::2] * rows["vision"][1::2]).sum(axis=1),
    }
)
groups = {"random pairs of images": random} | dict(list(cosines.groupby("relation", sort=False)))
plots.cosine_scatter(groups, clip_above=above, vision_below=below)
plt.show()

# %% [markdown]
# ## LLaVA fails most of them, by giving one answer twice
#
# LLaVA is asked each pair's question about each image, greedily, and a strict parser reads the answer. CLIP matches each image with the two answers as statements, such as “the blue mug is open”. Both images right, or the pair is wrong; chance is 25% for both.

# %%
tables = {
    "CLIP": evaluate({"CLIP": clip}, pairs, "matching"),
    "LLaVA": evaluate({"LLaVA": mllm}, pairs, "greedy"),
}
found = pd.concat(tables.values())
as_percent(summarize(found, by="model"))[["individual accuracy", "pair accuracy"]]

# %% [markdown]
# Before you see by what they fail: how do *you* do? Each card asks which of two pictures fits an answer; then it tells what the two models make of the pair. (At mini scale they see the pictures much smaller than you do.)

# %%
from erragree_utils.plots import live

live.quiz(firsts if scale.name == "mini" else pairs, tables)

# %% [markdown]
# A pair fails in two ways: both images get the same answer, or each gets the other's. Which is it?

# %%
wide = tables["LLaVA"].pivot(index="pair_id", columns="image_index")
llava, read = wide["correct"], wide["parsed"].all(axis=1)
kinds = {
    "both right": llava[0] & llava[1],
    "the same answer twice": (llava[0] ^ llava[1]) & read,
    "each the other's": ~llava[0] & ~llava[1] & read,
    "an answer that names no one option": ~read,
}
share = pd.Series({name: mask.mean() for name, mask in kinds.items()})
(100 * share).round(1).rename("% of pairs").to_frame()

# %% [markdown]
# Most failures of the mini LLaVA are of the second kind; in most others its words name no one option. And which answer is it that both images get? There we know what the model was trained on: for every pattern one answer was right far more often, as “yes” and “2” are in real visual question answering {cite:p}`goyal2017making`. Image 0 of each pair has that common answer, image 1 the rare one.

# %%
if scale.name == "mini":
    kind = {0: "common answer is right", 1: "rare answer is right"}
    images = tables["LLaVA"].assign(image=lambda t: t["image_index"].map(kind))
    answered = as_percent(summarize(images, by="image"))[["individual accuracy"]]
else:
    answered = None
    print("At mini scale only: how common MMVP's answers were in training, nobody has counted.")
answered

# %% [markdown]
# That's why accuracies of single images mislead: the common answer is right for one image of each pair, whatever it shows. The pair can't be won by it.
#
# ## Some patterns are hopeless, others easy
#
# At mini scale these are the same answers, by pattern. At paper scale MMVP-VLM's pairs have no question to answer, so both readers choose between the two statements: CLIP by its matching, LLaVA by VQAScore.

# %%
sorted_out = tables
if scale.name != "mini":
    sorted_out = {
        "CLIP": evaluate({"CLIP": clip}, patterned, "matching"),
        "LLaVA": evaluate({"LLaVA": mllm}, patterned, "vqascore"),
    }
by_pattern = summarize(pd.concat(sorted_out.values()), by=["relation", "model"])
shown = as_percent(by_pattern)["pair accuracy"].unstack("model").loc[list(patterned.relations)]
mean_cosine = cosines.groupby("relation")["clip_cosine"].mean().round(3)
shown.insert(0, "mean cosine", mean_cosine)
shown.sort_values("mean cosine")

# %% mystnb={"image": {"alt": "Pair accuracy with 95% intervals for each of the nine visual patterns, one mark for CLIP and one for LLaVA, beside the chance level of 25%. At mini scale LLaVA's marks reach from 0 to nearly 100%."}}
plots.grouped_dots(by_pattern, "pair_accuracy", "Pair accuracy", chance=0.25)
plt.show()

# %% [markdown]
# Below 25% is below chance: a reader that gives one answer twice gets no pair at all.
#
# ## What the cosine does tell
#
# All these pairs have a cosine close to 1. Does it matter *how* close? Success is a coarse measure, so we also look at what lies beneath: the pair's **signal**, how far the two images move LLaVA's answer apart, in log-likelihoods ([chapter 2](02_clip_matching.ipynb) had it for CLIP's scores). Two questions in one: do *patterns* with higher cosines have weaker signals, and do *pairs within a pattern*?
#
# The units have to be right. Between patterns there are nine, however many pairs they have. Within a pattern, pairs with the same question about the same kind of object are alike, so these clusters are the units, and ranks are compared. At mini scale we take many pairs, as they're drawn. (At paper scale the pairs are MMVP-VLM's, each a cluster of its own, and the signal is that of VQAScore for the two statements.)

# %%
from erragree_utils import score
from erragree_utils.measures.correlation import between_and_within
from erragree_utils.measures.decisions import predict, prefer

many, method = patterned, "vqascore"
if scale.name == "mini":
    many = load_benchmark(scale.mmvp, **scale.draw, **scale.many)
    method = "question-options"
embedded = clip.embed_images([image for pair in many for image in pair.images])
scores = score(mllm, many, method)
each = prefer(scores).set_index("pair_id")[["relation", "signal"]]
each["success"] = predict(scores).groupby("pair_id")["correct"].all().astype(float)
each["cosine"] = pd.Series(cosine(embedded[::2], embedded[1::2]), [p.pair_id for p in many])

# %%
from erragree_utils.tabletop.shapes import COLOURS


def asked(pair) -> str:
    """The question whatever the colours, where there's one."""
    words = getattr(pair, "question", pair.pair_id).split()
    return " ".join(word for word in words if word not in COLOURS)


each["cluster"] = pd.Series({pair.pair_id: asked(pair) for pair in many})
relations = pd.concat({
    f"cosine and {name}": between_and_within(each, "cosine", name, "relation", "cluster")
    for name in ("signal", "success")
})  # fmt: skip
print(f"{len(each)} pairs")
relations.round(2)

# %% mystnb={"image": {"alt": "A panel for each of three visual patterns and one for the means of all: the pair's signal against its cosine under CLIP. At mini scale the signal falls as the cosine rises, also within patterns that have a signal at all."}}
plots.signal_against_cosine(each)
plt.show()

# %% [markdown]
# So the cosine isn't empty beyond 0.95. At mini scale, the more alike CLIP finds the two images, the less of their difference reaches LLaVA's answer: between patterns, and, more weakly, from pair to pair within one. That's the grain of truth in "erroneous agreement". What the cosine hardly tells within a pattern is *success*, which needs the signal to exceed the bias.
#
# ## Beside the paper
#
# Pair accuracy on MMVP, where independent guesses give 25, from second-hand notes that quote {cite:t}`li2024erroneous` and from a figure of {cite:t}`tong2024eyes`:

# %%
published_table(benchmark="mmvp", kind="pair")[["published", "protocol", "source"]]

# %% [markdown]
# Our answers are greedy and strictly parsed. Is LLaVA ahead of CLIP, as it is in the paper? It doesn't have to be at mini scale: our CLIP's captions had words for all nine patterns, which captions from the web seldom have for MMVP's differences. A high cosine doesn't stop such a CLIP from matching.

# %%
gap = compare(*tables.values())
as_points(gap.to_frame("LLaVA against CLIP").T).rename(
    columns={"only plain": "only CLIP", "only this": "only LLaVA"}
)

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.measures.intervals import bootstrap_mean, wilson
from erragree_utils.paper import published

claim = partial(finding, seed=scale.seed)
of_llava = summarize(tables["LLaVA"]).loc["all"]
found_here = [
    claim(
        "LLaVA answers fewer than half of the CLIP-blind pairs rightly",
        estimate(of_llava, "pair_accuracy"), below=0.5,
        question="How many CLIP-blind pairs does LLaVA answer rightly?", who="LLaVA", chance=0.25,
        paper=published(
            reader="LLaVA-1.5-7B", benchmark="mmvp", kind="pair", methods="greedy"
        ),
    )
]  # fmt: skip
if scale.name == "mini":
    of_each = by_pattern.xs("LLaVA", level="model")
    failed = int((1 - llava.all(axis=1)).sum())
    one_answer = share["the same answer twice"] * len(llava) / failed
    gained = bootstrap_mean(llava[0].astype(float) - llava[1])
    ends = ["correlation", "low", "high"]
    of_signal = relations.loc["cosine and signal", ends]
    found_here += [
        claim(
            "LLaVA answers more than 60% of the pairs of the pattern colour rightly",
            estimate(of_each.loc["colour"], "pair_accuracy"), above=0.6,
        ),
        claim(
            "LLaVA answers fewer than 40% of the pairs of the pattern orientation rightly",
            estimate(of_each.loc["orientation"], "pair_accuracy"), below=0.4,
        ),
        claim(
            "In more than 60% of the pairs that fail, both images get the same answer",
            (one_answer, *wilson(one_answer, failed)), above=0.6,
        ),
        claim(
            "Images with the common answer are answered rightly more often, by over 20 points",
            estimate(gained, "mean"), above=0.2, unit="points",
        ),
        claim(
            "Between the nine patterns, cosine and signal correlate negatively",
            tuple(of_signal.loc["between"]), below=0, unit="",
        ),
        claim(
            "Within patterns, cosine and signal have a negative rank correlation",
            tuple(of_signal.loc["within"]), below=0, unit="",
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# LLaVA does fail on CLIP-blind pairs. The mini LLaVA fails unevenly: colour is nearly solved, orientation not at all, and it reads the same encoder in all cases. Where CLIP's cosine is highest, the least of the difference reaches the answer.
#
# And at mini scale the failures have a shape. Both images get the same answer, and it's the answer that was common in training. That's what not seeing looks like, and it's also what not trusting one's eyes looks like. Accuracy can't tell the two apart. The next two chapters can: [chapter 7](07_contrastive_decoding.ipynb) turns the language prior down, [chapter 8](08_two_images.ipynb) compares what the model says about the two images.
#
# ## What could be wrong
#
# - **A built-in imbalance.** We chose how often the mini model's common answers were right. Real training data are imbalanced, too, but by how much for each of MMVP's questions nobody has counted. The mini world shows that an imbalance *can* produce this picture, not that it does in LLaVA-1.5.
# - **Nine patterns are few**, and differ in words, in kinds of objects and in how often they were asked about in training. That patterns with higher cosines are harder is true of these nine.
# - **Rendered differences.** MMVP's pairs were found among photographs and differ in much besides the question. Ours differ in one respect alone, and are mined among candidates made for it.
# - **Mining favours an encoder's taste.** The mini vision-only encoder was trained on near-duplicates of the same kinds, so that it would keep them apart. It's a filter here, not a competitor.
# - **Statements aren't questions.** CLIP's matching and LLaVA's answers are two interfaces, with the reservations of [chapter 3](03_same_encoder_new_reader.ipynb). At paper scale the tables by pattern are of other pairs, and of another protocol, than MMVP's answers. MMVP-VLM's own accuracy goes from text to image besides; the study of [Paper scale](11_paper_scale.ipynb) has it.
#
# ## Exercises
#
# **1.** A model answers every question with the answer that was common in its training. What are its individual and its pair accuracy on the mini pairs?
#
# ```{admonition} Solution
# :class: dropdown
# 50% and 0%: it's right for image 0 of each pair and for no image 1. A benchmark of single images with the imbalance of the training would have given it far more.
# ```
#
# **2.** Does the mini LLaVA do better on candidates that were not mined?
#
# ```{admonition} Solution
# :class: dropdown
#
#     each["success"].mean(), llava.all(axis=1).mean()
#
# `each` holds such candidates (scored by options, where `llava` holds written answers). If mining chose what LLaVA can't answer, the first should be much larger.
# ```
#
# **3.** Does the *vision-only* encoder's cosine tell how strong the signal is?
#
# ```{admonition} Solution
# :class: dropdown
#
#     kept = each.join(cosines["vision_cosine"], how="inner")
#     between_and_within(kept, "vision_cosine", "signal", "relation", "cluster")
#
# Compare within patterns, too: between patterns, cosine and difficulty differ for many reasons at once.
# ```
#
# ## In this chapter you learned
#
# - A CLIP-blind pair is mined with two encoders; MMVP asks a question about each.
# - LLaVA fails on many of them; the mini LLaVA by giving both images one answer, the usual one.
# - The more alike CLIP finds two images, the less of their difference reaches LLaVA's answer. Whether the pair comes out right depends on the bias as well.
#
# **Sources**: {cite:t}`tong2024eyes`, {cite:t}`oquab2024dinov2`, {cite:t}`li2024erroneous`, {cite:t}`goyal2017making`; full entries under [References](../book/references.md).
