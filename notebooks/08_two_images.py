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
# **For most CLIP-blind pairs, what LLaVA says about the two images differs in the right direction, but a bias that both images share hides it.**
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
# **You will** compare what LLaVA says about the two images of a CLIP-blind pair, and then show it both images in one prompt.
#
# **You will learn** two protocols that are easily confused, what their chance levels are, and what a rise from 25% to 73% means when chance rises too.
#
# **You need** [chapter 6](06_clip_blind_pairs.ipynb), and signal and bias from [chapter 2](02_clip_matching.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about a minute. At paper scale: a GPU of 15 GB or more, and a network for the weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 13 to 16 min; L4: 19 GiB, 7 to 8 min; A100 40 GB: 19 GiB, 3 to 4 min; H100 80 GB: 19 GiB, 1 min.
#
# ## The question
#
# A model fails on a pair if it gives both images the same answer. Perhaps it can't see the difference. Or perhaps it sees one that's too small to overcome its bias. Comparing the two images tells us which: the bias is the same for both, so it cancels out.
#
# That's what {term}`relative preference <Relative preference>` does. We score each image alone, and then ask: does the first image prefer the first option *more than* the second image does? In the terms of [chapter 2](02_clip_matching.ipynb): is the signal positive, whatever the bias? There's one decision for each pair, so **chance is 50%**, not 25%. This works for CLIP too.
#
# The paper reports that LLaVA gets most of MMVP's pairs right with "two images". We think that this means relative preference. First, the paper reports the same measure for CLIP, which can't read a prompt with two images. Second, LLaVA-1.5 was trained on single images. The other reading would be a **two-image prompt**: both images in one prompt, with a question about the first or the second. We try that one at the end.

# %%
import warnings

from erragree_utils import load_benchmark, load_clip, load_mllm, start

scale = start()
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
mllm = load_mllm(scale.mllm)
pairs = load_benchmark(scale.mmvp, **scale.draw)
# The mini CLIP doesn't know the words "points" and "looks", which some statements use.
warnings.filterwarnings("ignore", "texts with words")

# %% [markdown]
# Here's what the paper reports for MMVP's pairs, image by image and by relative preference (according to second-hand notes that quote {cite:t}`li2024erroneous`):

# %% tags=["hide-input"]
from erragree_utils.paper import LLAVA, published, published_table

methods = ("matching", "greedy", "relative-preference")
in_paper = published_table(benchmark="mmvp", kind=("pair", "relative"), methods=methods)
in_paper[["measure", "published", "protocol"]]

# %% [markdown]
# ```{admonition} Predict before you go on
# :class: predict
# How much of that rise is due to the chance level alone, which is 25 for the first measure and 50 for the second? And the mini LLaVA, which answers so few pairs correctly: how many will it get right by relative preference?
# ```
#
# ## One pair, read both ways
#
# Let's take a single pair, with its question:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two images of a pair with its question below them, and the answer that each image has."}, "figure": {"caption": "One pair, one question, two answers: whoever answers both images alike has the pair wrong."}}
import matplotlib.pyplot as plt

from erragree_utils import plots

pair = pairs.select("state")[0] if scale.name == "mini" else pairs[0]
plots.question_pairs([pair], size=2.2)
plt.show()

# %%
from erragree_utils import score

one = score(mllm, [pair], "question-options")
one = one.pivot(index="image_index", columns="option_index", values="score")
one.columns = pair.options
one["preference for the first"] = one[pair.options[0]] - one[pair.options[1]]
one.rename_axis("image").round(2)  # log-likelihoods in nats

# %% [markdown]
# If we take each image alone, the option with the larger score is its answer. If we take them together, the pair is right if the last column falls from the first row to the second.
#
# ## By relative preference, most pairs come out right
#
# Now for all pairs and both models. We take LLaVA's answers from the scores of the two options. In [chapter 6](06_clip_blind_pairs.ipynb) it wrote them, and some named neither option or both, so the shares differ.

# %%
import pandas as pd

from erragree_utils import summarize
from erragree_utils.measures.decisions import predict, prefer

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
ways = pd.DataFrame(ways).T
answer, preference = (
    published(benchmark="mmvp", reader=LLAVA, kind=kind, methods=method).value
    for kind, method in zip(("pair", "relative"), methods[1:], strict=True)
)
paper = [answer, preference, (answer - 0.25) / 0.75, (preference - 0.5) / 0.5]
(100 * ways.assign(**{f"{LLAVA} (paper)": paper})).round(1).rename_axis(None, axis=1)

# %% [markdown]
# The first two rows have different chance levels, so don't subtract one from the other. The last two rows put both on one scale, from chance to perfect. Below zero is worse than independent guesses, and that's where a model ends up if it gives both images the same answer. At mini scale, LLaVA's answers are at chance or below, but its preferences are well on the way to perfect. The paper's LLaVA answers at chance, and by preference gets nearly half of the way to perfect. So the higher chance level explains a good part of its rise, but by no means all of it.
#
# (How can CLIP match so many pairs that are *CLIP-blind*? The name is about its cosine: it finds the two images alike. The mini CLIP was trained on captions with words for all nine patterns, and where the text asks, a small difference is enough, as [chapter 1](01_cosine_agreement.ipynb) showed.)
#
# What about the pairs that LLaVA *fails* when it answers each image alone? For how many of them is its relative preference right? Chance is one half here too:

# %%
from erragree_utils.measures.accuracy import as_percent

failed = ~single["LLaVA"].groupby("pair_id")["correct"].all()
rescued = summarize(relative["LLaVA"][lambda t: t["pair_id"].map(failed)])
as_percent(rescued)

# %% [markdown]
# Here are signal and bias, with a dot for each pair (or for 200 of them, if there are more). A click shows you the pair, and how much each of its images prefers its own answer.

# %% mystnb={"figure": {"caption": "Right of the upright line, the images move the answer in the right direction; only inside the wedge do they move it far enough."}}
from erragree_utils.plots import live

live.signal_and_bias({0: relative["LLaVA"]}, pairs)

# %% [markdown]
# ```{admonition} Key idea
# :class: key-idea
# A wrong answer isn't blindness. The images may move the answer in the right direction, just not far enough to outweigh a bias that both share.
# ```
#
# Every pair to the right of the vertical line is right by relative preference. Only those inside the wedge are also answered correctly. (Mind the scales: the bias may be several times the signal.) Between the line and the wedge are the pairs whose images *did* move LLaVA's answer in the right direction, just not far enough.
#
# ## For some patterns, comparing doesn't help

# %% mystnb={"image": {"alt": "Relative preference with 95% intervals for each visual pattern, a mark for CLIP and one for LLaVA, beside the chance level of 50%. At mini scale LLaVA's is at or near 100% for some patterns and near 50% for others."}, "figure": {"caption": "At mini scale, comparing the two images tells nearly all pairs of most patterns apart, but not of every pattern."}}
each = summarize(preferences, by=["relation", "model"])
plots.grouped_dots(each, "relative_accuracy", "Pairs with the right preference", chance=0.5)
plt.show()

# %% [markdown]
# Where a pattern is near one half, LLaVA's scores hold no signal that we could find. There, either the difference is lost on the way to the answer, or our scores miss it; [chapter 4](04_is_it_there.ipynb) shows how hard these are to tell apart.
#
# ## Preferences hold up across pairs
#
# Is this really about what the images show? Here's a control. We compare the first image with the second image of *another* pair, of the same pattern and with the same options. If preferences are about the images' content, that should work nearly as well. And here's a control that has to fail: we compare it with another pair's *first* image, which has the same answer.

# %% tags=["hide-input"]
from erragree_utils.measures.accuracy import in_percent
from erragree_utils.measures.decisions import crossed_preference

options = {pair.pair_id: " or ".join(pair.options) for pair in pairs}
control, across = {}, {}
for name, table in relative.items():
    alike = [table["relation"], table["pair_id"].map(options)]
    across[name] = crossed_preference(table, 1, alike)
    control[name] = {
        "within the pair": table["correct"].mean(),
        "with another's second image": across[name].mean(),
        "with another's first image": crossed_preference(table, 0, alike).mean(),
    }
in_percent(pd.DataFrame(control).T)

# %% [markdown]
# If there are no ties, the last column is near one half by construction, whatever a model knows. The middle column shows how well preferences can be compared across *different* scenes. Other objects and colours move them too, and that blurs a small signal. (At paper scale, pairs with the same options may have unrelated questions, so the middle column means little.)
#
# ## Putting both images in one prompt doesn't help a LLaVA trained on single images
#
# Now for the other reading of "two images". Both images are in one prompt, and we ask about the first or the second. There's one decision for each image, so **chance is 25%** for pairs again. We put each image in both places and average the scores, so that neither place has an advantage.
#
# ```{admonition} Predict before you go on
# :class: predict
# The mini LLaVA's training, like LLaVA-1.5's, had one image in every prompt. Will it find out which image the question is about?
# ```

# %% tags=["hide-input"]
from erragree_utils.measures.decisions import position_bias

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
in_percent(read)

# %% [markdown]
# And here's how often it gets an image right in either place, how often an image gets the same answer in both, and what the second image costs in pair accuracy:

# %% tags=["hide-input"]
from erragree_utils.measures.comparison import as_points, compare

print(f"right where the image comes first: {places['accuracy_first']:.1%}")
print(f"right where it comes second: {places['accuracy_second']:.1%}")
print(f"the same option in both places: {places['consistent']:.0%} of the images")
tested = compare(single["LLaVA"], two)
as_points(tested.to_frame("two-image prompt against one image").T).rename(
    columns={"only plain": "only with one", "only this": "only with two"}
)

# %% [markdown]
# That's what a model does that doesn't notice which image the question is about: wherever an image stands, it gives the same answer, and hardly any pair comes out right. We'd expect that from a model that was trained on single images. And it's why we don't think that the paper's number comes from a prompt like this.
#
# ## Long training on such prompts teaches a LLaVA to use them
#
# What if training did show it such prompts? Some [recorded readers](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/assets/readers/README.md) had two images in a share of their last batches, with a question about the first or the second. Here's their pair accuracy on one draw of fresh pairs, not mined, beside that of two readers which never saw such a prompt:

# %% tags=["hide-input"]
from erragree_utils.models import ASSETS

recorded = pd.read_csv(ASSETS / "readers" / "measures.csv").query(
    "benchmark == 'tabletop-mmvp' and seed == 301 and group == 'all' and measure == 'pair'"
    " and method in ['options', 'two-images']"
)
trained = {
    "mini": "none (as shipped)", "seed2": "none (another seed)",
    "mixed-two-images": "30% of the last 1,000 batches", "two-more": "60% of the last 3,000",
}  # fmt: skip
fresh = recorded.set_index(["model", "method"])[["value", "low", "high"]]
fresh = fresh.rename(columns={"low": "value_low", "high": "value_high"})
shown = in_percent(fresh, {"value": "pair"})
shown = shown["pair (%)"].unstack().loc[list(trained)].rename(trained)
shown = shown.rename_axis("two images in training")
shown.set_axis(["each image alone (%)", "both in one prompt (%)"], axis=1)

# %% [markdown]
# A short training on such prompts didn't teach it. A longer one did: that reader gets most pairs right with both images in one prompt. So this architecture can tell which image a question is about, once it's trained to. (We have one such reader. It also does better on each image alone than the others do, and that may be because its two-image batches, unlike the rest of its training, asked for a pair's two answers equally often.)
#
# What does that say about the paper's number? A prompt with two images *can* get that many pairs right. But LLaVA-1.5 had no such training, so we still think that relative preference is what the paper reports.
#
# ## What we found
#
# How much further do preferences get on the scale from chance (0) to perfect (100) than answers do?

# %% tags=["hide-input"]
from erragree_utils.measures.intervals import bootstrap

both_ways = pd.DataFrame(
    {"answers": ~failed, "preference": relative["LLaVA"].set_index("pair_id")["correct"]}
)
further = bootstrap(
    lambda t: (t["preference"].mean() - 0.5) / 0.5 - (t["answers"].mean() - 0.25) / 0.75, both_ways
)
points = [100 * end for end in further]
print("preferences get further by {:.0f} [{:.0f}, {:.0f}]".format(*points))

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding
from erragree_utils.measures.intervals import wilson

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
            "On the way from chance (0) to perfect (100), LLaVA is further by preference than by "
            "answers, by more than 25",
            further, above=0.25, unit="points",
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
            "With both images in one prompt, a LLaVA tuned on single images gets fewer pairs right "
            "than with each image alone",
            estimate(tested, "difference"), below=0, unit="points",
        ),
        finding(
            "With both images in one prompt, a LLaVA trained long on such prompts gets more than "
            "60% of the pairs right",
            estimate(fresh.loc[("two-more", "two-images")], "value"), above=0.6,
        ),
        finding(
            "With both images in one prompt, a LLaVA trained shortly on such prompts gets fewer "
            "than 5% of the pairs right",
            estimate(fresh.loc[("mixed-two-images", "two-images")], "value"), below=0.05,
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# If we compare the two images, the mini LLaVA tells most pairs apart, and that includes most of the pairs that it fails. The difference was in the patch tokens, it passed the projector, and it reached the answer's probabilities. There, a bias that both images share outweighed it. So on most of these pairs LLaVA isn't blind. As the paper says, it has picked up more than its answers show.
#
# Together with [chapter 7](07_contrastive_decoding.ipynb), that's the order that the paper reports: greedy decoding, then M3ID, then relative preference. But remember that the last step changes the task, and with it the chance level.
#
# ## What could be wrong
#
# - **It's another task.** Relative preference needs two images that are known to differ, and a question that tells them apart. It shows what a model's scores hold, not what the model could answer about one image.
# - **Chance rises too**, from 25 to 50 without any skill, which is why our tables keep the two apart. The scale from chance to perfect isn't neutral either: a model without any bias that is right on 73% by both counts would be at 0.64 on the first and at 0.46 on the second. So the scale understates the gain that we found.
# - **Something else may differ.** The preferences could differ because of something that has nothing to do with the question and merely goes along with it. In rendered pairs little else differs, but in MMVP's photographs much does. The control with another pair's image shows how well preferences hold up across scenes.
# - **Our reading of the paper.** We know its protocol for two images only second-hand. That it's relative preference is what we conclude from its other numbers.
# - **We tried one prompt.** Other words for “the first image” may do better. We know of no published number for such a prompt with LLaVA-1.5.
# - **CLIP's text.** We haven't found which text CLIP was given for its published number.
#
# ## Exercises
#
# **1.** A model prefers the first option by 3 nats for the first image, and by 2.9 nats for the second. Is the pair right by each of the two measures?
#
# ```{admonition} Solution
# :class: dropdown
# If each image is answered alone, the first is right and the second is wrong, so the pair is wrong. By relative preference the pair is right, by a tenth of a nat. Relative preference doesn't ask how large the difference is; the plot of signal and bias shows it.
# ```
#
# **2.** A model gives each image a random number as its preference. What does it score by relative preference, and what by two independent answers?
#
# ```{admonition} Solution
# :class: dropdown
# 50% and 25%. `np.random.default_rng(0)` and the functions above will confirm it.
# ```
#
# **3.** In the two-image prompt, is the signal gone, or does the bias outweigh it?
#
# ```{admonition} Solution
# :class: dropdown
#
#     plots.signal_and_bias({name: preference for name, (_, preference) in prompts.items()})
#
# If the dots scatter evenly about the vertical line, it's gone.
# ```
#
# **4.** For which patterns does the two-image prompt get any pairs right?
#
# ```{admonition} Solution
# :class: dropdown
#
#     summarize(two, by="relation")
# ```
#
# ## In this chapter you learned
#
# - Relative preference compares what a model says about two images. A bias that both share cancels out, and chance is 50%.
# - The mini LLaVA's scores tell most CLIP-blind pairs apart, including most of those that it answers wrongly.
# - A prompt with two images is another protocol. Our mini LLaVA, which was never trained on one, gets hardly any pair right with it; one that was trained on many gets most of them right.
#
# **Sources**: {cite:t}`li2024erroneous`, {cite:t}`tong2024eyes`; full entries under [References](../book/references.md).
