# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Compare the two images, and most pairs come out right
#
# **What LLaVA says about the two images differs in the right direction for most CLIP-blind pairs; a bias that both images share hides it.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/08_two_images.ipynb)

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
# **You will** compare what LLaVA says about the two images of a CLIP-blind pair, and then show it both in one prompt.
#
# **You will learn** two protocols that are easily confused, their chance levels, and why a number that rises from 25% to 73% may say less than it seems to.
#
# **You need** [chapter 6](06_clip_blind_pairs.ipynb), and signal and bias from [chapter 2](02_clip_matching.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about a minute. At paper scale: a GPU of 15 GB or more, and network for weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 13 to 16 min; L4: 19 GiB, 7 to 8 min; A100 40 GB: 19 GiB, 3 to 4 min; H100 80 GB: 19 GiB, 1 min.
#
# ## The same bias stands in both answers
#
# A model fails on a pair if it gives both images the same answer. Perhaps it sees no difference. Perhaps it sees one that's too small to overcome its bias. Look at both images and you can tell, because the bias is the same for both.
#
# **{term}`Relative preference`.** Each image is scored alone. Does the first image prefer the first option *more than* the second image does? In the terms of [chapter 2](02_clip_matching.ipynb): is the signal positive, whatever the bias? There is one decision for each pair, so **chance is 50%**, not 25%. It works for CLIP, too.
#
# The paper reports that LLaVA gets most of MMVP's pairs with "two images": the number is in the table below. We take that to be relative preference, most likely: the same number is reported for CLIP, which can't read a prompt with two images, and LLaVA-1.5 was trained on single images. At the end of this page there's the other reading, a **two-image prompt**: both images in one prompt, and a question about one of them, by its place.
#
# ```{admonition} Before you go on
# :class: tip
# The table shows what the paper reports for MMVP's pairs, by single images and by relative preference (second-hand notes that quote {cite:t}`li2024erroneous`). How much of the rise is due to the chance level alone, 25 for the first and 50 for the second? And how many pairs will the mini LLaVA get by relative preference, of which it answers so few?
# ```

# %%
from erragree_utils.paper import published, published_table

methods = ("matching", "greedy", "relative-preference")
in_paper = published_table(benchmark="mmvp", kind=("pair", "relative"), methods=methods)
in_paper[["measure", "published", "protocol"]]

# %%
import matplotlib.pyplot as plt
import pandas as pd

from erragree_utils import load_benchmark, load_clip, load_mllm, plots, score, start, summarize
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.measures.comparison import as_points, compare
from erragree_utils.measures.decisions import crossed_preference, position_bias, predict, prefer
from erragree_utils.measures.intervals import bootstrap, wilson

scale = start()
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
mllm = load_mllm(scale.mllm)
pairs = load_benchmark(scale.mmvp, **scale.draw)

# %% [markdown]
# ## One pair, read both ways

# %% mystnb={"image": {"alt": "Two images of a pair with its question below them, and the answer that each image has."}}
pair = pairs.select("state")[0] if scale.name == "mini" else pairs[0]
plots.question_pairs([pair], size=2.2)
plt.show()

# %%
one = score(mllm, [pair], "question-options")
one = one.pivot(index="image_index", columns="option_index", values="score")
one.columns = pair.options
one["preference for the first"] = one[pair.options[0]] - one[pair.options[1]]
one.round(2)  # log-likelihoods in nats; a row for each image

# %% [markdown]
# Taken alone, an image is answered by the larger of its two scores. Taken together, the pair is right if the last column falls from the first row to the second.
#
# ## From few pairs to most

# %%
alone = score({"CLIP": clip, "LLaVA": mllm}, pairs, "relative-preference")
decided, preferences = predict(alone), prefer(alone)
single, relative = (  # tables by reader
    dict(list(table.groupby("model", sort=False))) for table in (decided, preferences)
)
answers, preferred = (summarize(table, by="model") for table in (decided, preferences))
ways = {
    "both answers right (chance 25)": answers["pair_accuracy"],
    "relative preference right (chance 50)": preferred["relative_accuracy"],
    "answers, from chance (0) to perfect (100)": (answers["pair_accuracy"] - 0.25) / 0.75,
    "preference, from chance (0) to perfect (100)": (preferred["relative_accuracy"] - 0.5) / 0.5,
}
(100 * pd.DataFrame(ways)).round(1).T

# %% [markdown]
# The first two rows have different chance levels, so don't subtract them. The last two say how far each has come from chance to perfect. Below zero is worse than independent guesses, as a reader is that gives both images the same answer. At mini scale, LLaVA starts at or below chance and comes a good part of the way.
#
# And of those pairs that LLaVA *fails* when each image is answered alone, how many does it prefer rightly? Chance is one half here, too:

# %%
failed = ~single["LLaVA"].groupby("pair_id")["correct"].all()
rescued = summarize(relative["LLaVA"][lambda t: t["pair_id"].map(failed)])
as_percent(rescued)

# %% mystnb={"image": {"alt": "One dot for each pair: signal across, bias up, each with a scale of its own. In a shaded wedge both images are answered rightly. The dots have mostly positive signals, but many lie above the wedge, where the bias is larger."}}
plots.signal_and_bias({"LLaVA": relative["LLaVA"]})
plt.show()

# %% [markdown]
# Everything right of the vertical line is right by relative preference; only what lies in the wedge is answered rightly. (Mind the scales: the bias may be several times the signal.) The pairs between the line and the wedge are those in which the images *did* move LLaVA's answer, just not far enough.
#
# ## Some patterns aren't there at all

# %% mystnb={"image": {"alt": "Relative preference with 95% intervals for each visual pattern, a mark for CLIP and one for LLaVA, beside the chance level of 50%. At mini scale LLaVA's is at or near 100% for some patterns and near 50% for others."}}
each = summarize(preferences, by=["relation", "model"])
plots.grouped_dots(each, "relative_accuracy", "Pairs with the right preference", chance=0.5)
plt.show()

# %% [markdown]
# Relative preference also tells where comparing *doesn't* help. A pattern near one half has no signal that we could find in LLaVA's scores: there the difference was lost before the answer, in the encoder or on the way from it.
#
# ## Is it the images, or luck?
#
# A control: set image 0 beside image 1 of *another* pair, of the same pattern and with the same options. If preferences are about what the images show, this should work nearly as well. And one that has to fail: beside another pair's image 0, of which the same answer is true.

# %%
options = {pair.pair_id: " or ".join(pair.options) for pair in pairs}
control, across = {}, {}
for name, table in relative.items():
    alike = [table["relation"], table["pair_id"].map(options)]
    across[name] = crossed_preference(table, 1, alike)
    control[name] = {
        "its own pair": table["correct"].mean(),
        "another's image 1": across[name].mean(),
        "another's image 0": crossed_preference(table, 0, alike).mean(),
    }
(100 * pd.DataFrame(control).T).round(1)

# %% [markdown]
# Without ties the last column is near one half by construction, whatever a model knows. The middle one says how far preferences can be compared between *different* scenes: other objects and colours move them, too, and blur a small signal. (At paper scale pairs with the same options may have unrelated questions, and the middle column means little.)
#
# ## Both images in one prompt
#
# Now the other reading of "two images": both stand in one prompt, and the question is about one of them, by its place. There's one decision for each image, and **chance is 25%** for pairs again. Each image is asked about in both places and the scores are averaged, so that no place has an advantage. The mini LLaVA's training, like LLaVA-1.5's, had one image in every prompt. Will it manage?

# %%
both = score({"LLaVA, two images": mllm}, pairs, "two-images")
two, two_preferred = predict(both), prefer(both)
places = position_bias(both)
prompts = {
    "each image alone": (single["LLaVA"], relative["LLaVA"]),
    "both in one prompt": (two, two_preferred),
}
read = pd.DataFrame({
    name: {
        "both answers right": summarize(answer).loc["all", "pair_accuracy"],
        "relative preference right": summarize(preference).loc["all", "relative_accuracy"],
    }
    for name, (answer, preference) in prompts.items()
})  # fmt: skip
print(f"the same option in both places: {places['consistent']:.0%} of the images")
(100 * read).round(1)

# %%
in_place = {"first": places["accuracy_first"], "second": places["accuracy_second"]}
print({f"asked about where it comes {k}": f"{v:.1%}" for k, v in in_place.items()})
tested = compare(single["LLaVA"], two)
as_points(tested.to_frame("two images against one").T)

# %% [markdown]
# A model that takes no notice of which image is meant gives one answer to both questions, and is right about no pair. That's what a reader of single images should do with a second one, and it's why we don't think that the paper's number comes from such a prompt.
#
# ## What this page found

# %%
both_ways = pd.DataFrame(
    {"answers": ~failed, "preference": relative["LLaVA"].set_index("pair_id")["correct"]}
)
further = bootstrap(
    lambda t: (t["preference"].mean() - 0.5) / 0.5 - (t["answers"].mean() - 0.25) / 0.75, both_ways
)
print("further from chance to perfect, by preference: {:.2f} [{:.2f}, {:.2f}]".format(*further))

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding

claim = partial(finding, seed=scale.seed)
asked = (
    "Of how many CLIP-blind pairs do the scores of the two images differ in the right direction?"
)
found_here = [
    claim(
        "LLaVA's relative preference is right for clearly more than half of the pairs",
        estimate(preferred.loc["LLaVA"], "relative_accuracy"), above=0.6,
        question=asked, who="LLaVA", chance=0.5,
        paper=published(reader="LLaVA-1.5-7B", benchmark="mmvp", kind="relative"),
    )
]  # fmt: skip
if scale.name == "mini":
    other = across["LLaVA"]
    found_here += [
        claim(
            "On the way from chance (0) to perfect (1), LLaVA is further by preference than by "
            "answers, by more than 0.25",
            further, above=0.25, unit="",
        ),
        claim(
            "Relative preference is right for more than 60% of the pairs that LLaVA fails",
            estimate(rescued.loc["all"], "relative_accuracy"), above=0.6,
        ),
        claim(
            "Beside another pair's image with the same options, over 55% of preferences are right",
            (other.mean(), *wilson(other.mean(), len(other))), above=0.55,
        ),
        claim(
            "With both images in one prompt, a LLaVA that was tuned on single ones answers no more "
            "pairs rightly than with each alone, by 5 points or more",
            estimate(tested, "difference"), below=0.05, unit="points",
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# Compared with each other, the two images of most pairs are told apart by the mini LLaVA, also of pairs that it fails. The difference was in the patch tokens, it passed the projector, and it reached the answer's probabilities. It was outweighed there by a bias that both images share. So on these pairs the failure is mostly *not* blindness, and the paper's reading holds: the model uses less than it has extracted.
#
# With [chapter 7](07_contrastive_decoding.ipynb) that's the paper's order: greedy, then M3ID, then two images. The last step comes with a reservation: it changes the task and its chance level.
#
# ## What could be wrong
#
# - **Another task.** Relative preference needs two images that are known to differ, and the question that tells them apart. It shows what a model's scores hold, not what it could answer about one image.
# - **Chance.** From 25 to 50 without any skill: that's why the tables keep them apart. The way from chance to perfect is no neutral scale either: a reader without any bias, right on 73% by both counts, would be at 0.64 on the first and 0.46 on the second. So it understates the gain found here.
# - **A shared nuisance.** Preferences could differ for a reason that has nothing to do with the question and happens to go along with it. In rendered pairs little else differs; in MMVP's photographs much does. The control with another pair's image tells how well preferences hold up across scenes.
# - **Our reading of the paper.** Its protocol for two images is second-hand to us. That it's relative preference is an inference from what else it reports.
# - **One prompt.** Other words for “the first image” may do better, and a model that was trained on several images certainly could. No number for this prompt is known to us for LLaVA-1.5.
# - **What text CLIP was given** for its published number we haven't found.
#
# ## Exercises
#
# **1.** A model prefers the first option by 3 nats for the first image, and by 2.9 nats for the second. What are its answers worth, by each protocol?
#
# ```{admonition} Solution
# :class: dropdown
# Alone: the first image is right, the second wrong, so the pair is wrong. By relative preference the pair is right, by a tenth of a nat. The protocol doesn't ask how large the difference is; the picture of signal and bias does.
# ```
#
# **2.** A reader gives each image a random number as its preference. What does it score by relative preference, and what as two independent answers?
#
# ```{admonition} Solution
# :class: dropdown
# 50% and 25%. `np.random.default_rng(0)` and the functions above will confirm it.
# ```
#
# **3.** Within the two-image prompt, is the signal gone, or does the bias outweigh it?
#
# ```{admonition} Solution
# :class: dropdown
#
#     plots.signal_and_bias({name: preference for name, (_, preference) in prompts.items()})
#
# If the dots stand about the vertical line, it's gone.
# ```
#
# **4.** Of which patterns does the two-image prompt get pairs right?
#
# ```{admonition} Solution
# :class: dropdown
#
#     summarize(two, by="relation")
# ```
#
# ## In this chapter you learned
#
# - Relative preference compares what a model says about two images; a bias that both share cancels, and chance is 50%.
# - The mini LLaVA's scores tell most CLIP-blind pairs apart, also those that it answers wrongly.
# - A prompt with two images is another protocol, and a model that never saw one can't use it.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`tong2024eyes`; full entries under [References](../book/references.md).
