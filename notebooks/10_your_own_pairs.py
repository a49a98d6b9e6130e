# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where your own model loses your answer
#
# **A hundred pairs of one kind are enough to say where a model loses the answer about them. A dozen aren't, and the tool says so.**
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/erroneous-agreements/erroneous-agreements/blob/main/notebooks/10_your_own_pairs.ipynb)

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
# **You will** bring pairs of your own (or take a dozen that we wrote), have the answers about them diagnosed, and find out how far to believe the diagnosis.
#
# **You will learn** to tell five reasons for a wrong answer apart by their evidence, how many pairs that takes, and why a verdict needs a zoo.
#
# **You need** chapters [2](02_clip_matching.ipynb) to [4](04_is_it_there.ipynb) and [8](08_two_images.ipynb). To run the page at {term}`mini scale <Mini scale, paper scale>`: two CPU cores and about a minute. At paper scale: a GPU of 15 GB or more, and network for weights and images.
#
# **At paper scale**, computed ([how](11_paper_scale.ipynb)), downloads and loading aside: T4: 10 GiB, 9 to 11 min; L4: 19 GiB, 4 to 5 min; A100 40 GB: 19 GiB, 3 min; H100 80 GB: 19 GiB, 1 min.
#
# ## The question
#
# Your model gets an answer wrong. Now what? You could buy a better encoder, rewrite the prompt, change the decoding or fine-tune the model. Most of that would be wasted effort, and what wouldn't be depends on *where* the answer is lost. The symptom doesn't tell you: pair accuracy is low in every case.
#
# The earlier chapters have built the instruments. Here they come together in one function, `diagnose`, whose rules turn its measurements into a {term}`verdict <Verdict>`:
#
# | CLIP's matching | language model | what it means | what to try |
# |---|---|---|---|
# | answered | answered | most pairs are right | nothing |
# | matching misaligned | | the embedding tells the images apart, but the texts don't ask for the difference | another reader of the embedding |
# | lost in pooling | | the patch tokens tell them apart, but the embedding doesn't | read the tokens |
# | | prior wins | scores follow the image, but a habit outweighs it | compare, contrast, balance |
# | | reader ignores | the tokens tell them apart, but the scores don't change | other words, fine-tuning |
# | encoder blind | encoder blind | the tokens don't tell them apart | another encoder |
# | undecided | undecided | the pairs don't decide | more pairs |
#
# ```{admonition} Predict before you go on
# :class: predict
# You have a dozen pairs of photographs, of several kinds, that your model gets wrong. How many of the kinds will get a verdict? And suppose a hundred models with known faults were diagnosed: how many verdicts would have to be right before you'd spend money on one?
# ```

# %% tags=["hide-input"]
import warnings
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import pandas as pd

from erragree_utils import (
    evaluate,
    load_benchmark,
    load_clip,
    load_mllm,
    plots,
    start,
    summarize,
)
from erragree_utils.benchmarks.folder import write_example
from erragree_utils.diagnosis import diagnose, page
from erragree_utils.measures.accuracy import as_percent, in_digits, in_percent
from erragree_utils.training import zoo_record

pd.set_option("display.max_colwidth", None)  # questions in full
scale = start()
mllm = load_mllm(scale.mllm)
warnings.filterwarnings("ignore", "texts with words")  # chapter 6 explains CLIP's words

# %% [markdown]
# ## A folder and a table
#
# Your pairs are a folder of images and a table, `pairs.csv`. Each row has two images, each with a caption that's true of that image alone. You can add a question with two answers, and a group; there's one verdict per group. Here's the first row of an example, with the names of the columns at the left; `python -m erragree_utils template FOLDER` writes the same table:

# %%
folder = Path(mkdtemp()) / "mine"
table = write_example(folder, size=160)
pd.read_csv(table).iloc[0].rename("first row").to_frame().rename_axis("column")

# %% [markdown]
# On Colab the next cell asks for files: choose your `pairs.csv` and the images that it names, without folders. Press *Cancel upload* to keep the example. Anywhere else the cell does nothing, so put in your own folder's path instead.

# %% tags=["hide-input"]
import sys

if "google.colab" in sys.modules:
    from google.colab import files

    if uploaded := files.upload():
        folder = Path(mkdtemp())
        for name, content in uploaded.items():
            (folder / name).write_bytes(content)

# %% mystnb={"image": {"alt": "Three pairs of pictures from the table, with the question about each below them and the answer that each picture has."}, "figure": {"caption": "What a folder of yours holds: two images that differ in one thing, and for each an answer that's true of it alone."}}
pairs = load_benchmark("folder", folder=folder)
if hasattr(pairs[0], "question"):
    plots.question_pairs(pairs[:3], size=1.7)
else:
    plots.show_pair(pairs[0])
plt.show()

# %% [markdown]
# If something is wrong with your table, you'll hear about it at once, row by row: a missing file, two equal captions, a photograph that can't be read.
#
# ## A dozen pairs
#
# Now we diagnose CLIP and LLaVA on them, and look at the verdicts:

# %%
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
dozen = diagnose(pairs, clip, mllm)
shown = dozen.groups[["group", "part", "verdict", "n_pairs"]]
shown = shown.join(in_percent(dozen.groups, {"pair": "pair accuracy"}))
readers = {"clip": "CLIP", "mllm": "LLaVA"}
shown = shown.rename(columns={"part": "reader", "n_pairs": "pairs"}).replace(readers)
shown.set_index("group")

# %% [markdown]
# If you predicted a row of verdicts, this is a disappointment, but a deserved one. The rules look at where an *interval* lies, and with a single pair the interval for pair accuracy covers almost everything. Even a group of four, all of them right, only just counts as answered. And to say that an embedding tells two images apart, a {term}`linear probe <Linear probe>` has to learn that from some pairs and show it on others; with fewer than 16 we don't even try. A tool that gave you verdicts here would be making them up.
#
# So let's collect more pairs of *one* kind: all the left/right pairs of our benchmark.

# %%
kind = "left/right"
bench = load_benchmark(scale.whatsup_a, **scale.draw).select(kind)
len(bench)

# %% [markdown]
# ## One symptom, three causes
#
# At mini scale we have three CLIPs. One *hides* left and right in its embedding and one has *lost* them from it, with the same symptom; the third is *aligned* and has none. We don't tell the diagnosis which is which. Before you run it, write down what you expect of each: its pair accuracy, and whether a probe can tell left from right by its embedding. At paper scale there's just the paper's CLIP.

# %%
if scale.name == "mini":
    clips = {name: load_clip(name) for name in ("mini", "mini-lost", "mini-aligned")}
    clips = dict(zip(("hidden", "lost", "aligned"), clips.values(), strict=True))
else:
    clips = {scale.clip: clip}
found = {name: diagnose(bench, model) for name, model in clips.items()}
found["LLaVA"] = diagnose(bench, mllm=mllm)
groups = pd.concat({name: one.groups for name, one in found.items()}).droplevel(1)
groups = groups.rename_axis("reader")
shown = groups[["verdict"]].join(in_digits(groups, {"cosine": "mean cosine"}))
shares = {"confidence": "confidence", "pair": "pair accuracy"}
shown.join(in_percent(groups, shares))

# %% [markdown]
# Look at the cosine first: it's about the same for all three CLIPs, so it can't be the evidence. This is:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows with a mark and a 95% interval for each model: pair accuracy of the answers, what a linear reader tells from one embedding, and what it tells from one image's patch tokens. The hidden CLIP has a low pair accuracy and a high reading of both; the lost one a reading of the embedding at chance and a high one of the tokens; the aligned one and LLaVA are high throughout."}, "figure": {"caption": "At mini scale, *hidden* and *lost* fail alike, and what a linear reader finds in the embedding tells them apart: the verdict is the first stage that fails."}}
rows = {
    "both images answered": "pair",
    "told by the embedding": "embedding_single",
    "told by patch tokens": "tokens_single",
}
evidence = {}
for label, column in rows.items():
    ends = groups[[column, f"{column}_low", f"{column}_high"]].dropna()
    evidence[label] = ends.set_axis(["share", "share_low", "share_high"], axis=1)
plots.grouped_dots(pd.concat(evidence), "share", "Pairs, or images, that are right", chance=0.5)
plt.show()

# %% [markdown]
# (The line at 50% is chance for the two probes; for the answers to pairs, chance is 25%.)
#
# Read it from the bottom up. Do the patch tokens tell the images apart? If not, the encoder is blind and nothing above it can help. Does the embedding? If not, pooling has lost the difference. Are the answers right? If not, nobody asked for it.
#
# ```{admonition} Key idea
# :class: key-idea
# All these failures look alike from outside. The verdict is the first stage, from the pixels up, that no longer tells the two images apart.
# ```
#
# Each verdict comes with something to try, and with the chapter that explains it:

# %% tags=["hide-input"]
for name, advice in groups.drop_duplicates("verdict")["advice"].items():
    print(f"{name}, {groups.loc[name, 'verdict']}: {advice}\n")

# %% [markdown]
# The full report is a single self-contained page that shows every pair with its pictures and numbers. `python -m erragree_utils diagnose FOLDER --out FOLDER/report` writes the same one:

# %%
report = page.write(dozen, pairs, folder / "report", "A dozen pairs")
sorted(path.name for path in report.parent.iterdir())

# %% [markdown]
# ## Doubt it
#
# Why should you believe any of this? We made up the rules, and the thresholds too. A diagnosis needs what every blood test has: cases whose truth is known. So we built a *zoo* of this book's models, some left as they are and some broken on purpose. One sees each picture averaged with its mirror image, so that left and right are gone. One sees nothing but noise. One dislikes certain answers out of habit. For others, we average or silence the image tokens on their way to the language model. We diagnosed each member on several kinds of change and several draws, 20 to 200 pairs at a time. You see recorded results here; the [zoo's code](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/training/zoo.py) reproduces them. We chose the rules on other draws, and on left and right alone.
#
# For each fault that we know, the table counts how many verdicts at a hundred pairs name it, how many name nothing, and how many name something else:

# %%
zoo = zoo_record.recorded()
hundred = zoo[zoo["n_pairs"] == 100]
counts = zoo_record.outcomes(hundred).rename(index=readers, level="part")
counts.rename_axis(["reader", "truth"]).rename_axis(None, axis=1)

# %% [markdown]
# How many pairs does that take? For each number of pairs, here's the share of verdicts that are right, with an interval over members and kinds of change, and the share of groups without a verdict:

# %%
sizes = zoo_record.by_size(zoo).rename_axis("pairs")
shown = in_percent(sizes, {"right": "verdicts that are right", "undecided": "without a verdict"})
shown.assign(verdicts=sizes["n"].astype(int))

# %% [markdown]
# With few pairs you get fewer verdicts rather than more mistakes; that's what the intervals are for. [Going deeper](#going-deeper), at the end of the page, looks at the mistakes one by one.
#
# ## What we found

# %% tags=["finding", "hide-input"]
from functools import partial

from erragree_utils import findings
from erragree_utils.findings import estimate, finding

claim = partial(finding, seed=scale.seed)
overall = zoo_record.right_share(hundred)
new = hundred[~hundred["kind"].str.startswith("left/right")]
found_here = [
    finding(
        "Of the verdicts about models whose fault is known, more than four of five are right at a "
        "hundred pairs",
        estimate(overall, "right"), above=0.8,
        question="We build models with a known fault. How often does the diagnosis name it?",
    ),
    finding(
        "Of the verdicts about kinds of change that set no threshold, more than four of five are "
        "right at a hundred pairs",
        estimate(zoo_record.right_share(new), "right"), above=0.8,
    ),
]  # fmt: skip
if scale.name == "mini":
    found_here += [
        claim(
            "A linear reader tells left from right in most embeddings of the hidden CLIP",
            estimate(groups.loc["hidden"], "embedding_single"), above=0.75,
        ),
        claim(
            "A linear reader tells left from right in fewer than seven of ten embeddings of the "
            "lost CLIP",
            estimate(groups.loc["lost"], "embedding_single"), below=0.7,
        ),
        claim(
            "A linear reader tells left from right by the lost CLIP's patch tokens in more than "
            "eight of ten images",
            estimate(groups.loc["lost"], "tokens_single"), above=0.8,
        ),
        claim(
            "The hidden CLIP matches fewer pairs than guessing would",
            estimate(groups.loc["hidden"], "pair"), below=0.25,
        ),
        claim(
            "The aligned CLIP matches most pairs of the same images",
            estimate(groups.loc["aligned"], "pair"), above=0.8,
        ),
    ]  # fmt: skip
findings.show(found_here)

# %% [markdown]
# ## What it means
#
# The same low accuracy can have several causes, and in models that we know inside out, a hundred pairs of one kind are mostly enough to tell them apart. A dozen pairs aren't, and a tool should say so rather than guess. We ask a series of questions on the way from the pixels to the answer, and the verdict names the first one that gets a no.
#
# What's worth trying depends on the verdict. No decoding repairs a blind encoder, and no better encoder repairs a prior. That's the practical side of the paper's argument: an {term}`erroneous agreement <Erroneous agreement>` of embeddings says little about which of these you have.
#
# ## What could be wrong
#
# - **The zoo is ours.** Its members are small, its faults are clean, and its pictures are rendered. A published model may have two faults at once, or half of one. We've tested the rules, not the verdicts about your model.
# - **A probe that finds nothing proves little.** The rules check that it *would* have found a difference planted along one direction, but a difference of another form can go unseen. That's how a weakly hidden difference gets called lost.
# - **A probe that finds something** may not have found what you meant. If you took all your left-hand images in the morning, it may be reading the light. Vary whatever you don't ask about.
# - **A confidence** accounts for sampling alone. It can't know that a rule is wrong, so don't read 99% as a promise.
# - **You choose the groups.** If you mix two kinds of change in one group, its verdict is about neither.
#
# ## Exercises
#
# **1.** Your model gets the verdict *encoder blind* with 30 pairs. What do you do before you look for another encoder?
#
# ```{admonition} Solution
# :class: dropdown
# Get more pairs, and look at `tokens_power`, which tells how well the probe reads a planted difference. If the difference is small, try the images at a higher resolution.
# ```
#
# **2.** In a colleague's table, `image_1` is always the left-hand image and `caption_1` the caption that fits it. What can go wrong?
#
# ```{admonition} Solution
# :class: dropdown
# The scores are safe: they never depend on the order. But if anything else differs between first and second images, such as the camera's settings, it's confounded with the side, and the probe may read that instead.
# ```
#
# **3.** At mini scale: diagnose the three CLIPs with the first 20, 40 and 60 pairs of `bench`. When does each verdict appear, and is it ever wrong on the way?
#
# ```{admonition} Solution
# :class: dropdown
#
#     for n in (20, 40, 60):
#         early = {name: diagnose(bench[:n], model) for name, model in clips.items()}
#         print(n, {name: one.groups["verdict"].item() for name, one in early.items()})
# ```
#
# **4.** Write a member of the zoo yourself: a model that sees every picture in shades of grey. What should the verdict be on pairs that differ in colour, and why is the truth less certain than it looks?
#
# ```{admonition} Solution
# :class: dropdown
# *Encoder blind*, if nothing but the hue differs. But white is lighter than black, and yellow is lighter than blue, so many colours still differ in a grey picture. It takes care to know a fault by construction.
# ```
#
# ## In this chapter you learned
#
# - You can find where an answer is lost by asking stage after stage, from tokens to embedding to answer.
# - A dozen pairs decide hardly anything; about a hundred of one kind decide a lot.
# - A diagnosis is worth no more than its test on known cases.
#
# **Sources**: {cite:t}`li2024erroneous`; full entries under [References](../book/references.md).

# %% [markdown]
# ## Going deeper
#
# ### Where the zoo's verdicts are wrong
#
# Here are the verdicts at a hundred pairs that don't name the truth, by member of the zoo and kind of change, and for how many draws:

# %%
off = hundred[hundred["verdict"] != hundred["truth"]]
off = off.rename(columns={"kind": "kind of change"})
columns = ["member", "kind of change", "truth", "verdict"]
off.groupby(columns).size().rename("draws").reset_index().set_index("member")

# %% [markdown]
# Two of the stories behind this table are worth telling. The hidden CLIP hides left and right in *B* better than in A: what *left* means depends on which object is named first, and a probe needs some 200 pairs to learn that. An earlier version of our rules mistook the probe's weak reading for none and called the CLIP lost, with full confidence. The zoo caught that mistake. And a model that sees nothing but noise is sometimes left undecided, because a probe does somewhat better than chance by luck.

# %% [markdown]
# ### Does a confidence keep its word?
#
# Here we group verdicts of similar confidence, and see what share of them is right:

# %%
kept = zoo_record.calibration(zoo).rename_axis("confidence")
shown = in_percent(kept, {"confidence": "mean confidence", "right": "verdicts that are right"})
shown.assign(verdicts=kept["n"])

# %% [markdown]
# ### Single images
#
# If your images have no partner, leave `image_2` empty in the table. Then there's no difference to look for, and `diagnose` refuses. What you can still measure is accuracy, here in per cent:

# %%
singles = pairs.with_images([[pair.sources[0]] for pair in pairs])
as_percent(summarize(evaluate(clip, singles)))[["individual accuracy", "individual chance"]]
