# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own pairs
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
# Your model gets an answer wrong. Now what? You could buy a better encoder, rewrite the prompt, change the decoding or fine-tune, and three of these four will be wasted. Which three depends on *where* the answer is lost, and the symptom doesn't tell: the pair accuracy is low in every case.
#
# The chapters so far have collected the instruments. Here they're one function, `diagnose`, with rules that turn what it measures into a {term}`verdict <Verdict>`:
#
# | CLIP's matching | language model | what it means | what to try |
# |---|---|---|---|
# | answered | answered | most pairs are right | nothing |
# | matching misaligned | | the embedding tells the images apart, the texts don't ask for it | another reader of the embedding |
# | lost in pooling | | the patch tokens tell them apart, the embedding doesn't | read the tokens |
# | | prior wins | scores move with the image, a habit outweighs them | compare, contrast, balance |
# | | reader ignores | the tokens tell them apart, the scores don't move | other words, fine-tuning |
# | encoder blind | encoder blind | the tokens don't tell them apart | another encoder |
# | undecided | undecided | the pairs don't decide | more pairs |
#
# ```{admonition} Before you go on
# :class: tip
# You have a dozen pairs of photographs, of several kinds, that your model fails at. How many of the kinds will get a verdict? And if a hundred models with known faults were diagnosed, how many verdicts would you want to be right before you spend money on one?
# ```

# %%
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
from erragree_utils.measures.accuracy import as_percent
from erragree_utils.training import zoo_record

scale = start()
mllm = load_mllm(scale.mllm)
warnings.filterwarnings("ignore", "texts with words")  # chapter 6 tells of CLIP's words

# %% [markdown]
# ## A folder and a table
#
# Your pairs are a folder of images and a table, `pairs.csv`: two images in a row, and a caption that's true of each alone. A question with two answers may follow, and a group, by which verdicts are given. Here is an example, written by the same function as `python -m erragree_utils template FOLDER`:

# %%
folder = Path(mkdtemp()) / "mine"
table = write_example(folder, size=160)
pd.read_csv(table)[["image_1", "caption_1", "caption_2", "question", "group"]].head(4)

# %% [markdown]
# On Colab the next cell asks for files: choose your `pairs.csv` and the images that it names, without folders. Press *Cancel upload* to keep the example. Elsewhere the cell does nothing; put your own folder's path in its place.

# %%
import sys

if "google.colab" in sys.modules:
    from google.colab import files

    if uploaded := files.upload():
        folder = Path(mkdtemp())
        for name, content in uploaded.items():
            (folder / name).write_bytes(content)

# %% mystnb={"image": {"alt": "Three pairs of pictures from the table, with the question about each below them and the answer that each picture has."}}
pairs = load_benchmark("folder", folder=folder)
if hasattr(pairs[0], "question"):
    plots.question_pairs(pairs[:3], size=1.7)
else:
    plots.show_pair(pairs[0])
plt.show()

# %% [markdown]
# Whatever is wrong with a table is said at once, row by row: a missing file, two equal captions, a photograph that can't be read.
#
# ## A dozen pairs

# %%
clip = load_clip(scale.clip, dtype=scale.clip_dtype)
dozen = diagnose(pairs, clip, mllm)
shown = ["group", "part", "verdict", "n_pairs", "pair", "pair_low", "pair_high"]
dozen.groups[shown].round(2)

# %% [markdown]
# If you predicted a row of verdicts, this is a disappointment, and the right one. A rule asks where an *interval* lies, and one pair's interval for pair accuracy covers most of what's possible. Only a group of four, all of them right, can just be called answered. And to say that an embedding tells two images apart, a {term}`linear probe <Linear probe>` has to learn it from some pairs and show it on others; it isn't even tried with fewer than 16. A tool that gave verdicts here would be making them up.
#
# So gather more pairs of *one* kind. A hundred of them, in which left and right are exchanged:

# %%
kind = "left/right"
bench = load_benchmark(scale.whatsup_a, **scale.draw).select(kind)
len(bench)

# %% [markdown]
# ## One symptom, three causes
#
# At mini scale we have three CLIPs with the same symptom or its absence: one *hides* left and right in its embedding, one has *lost* them from it, one is *aligned*. The diagnosis isn't told which is which. Before you run it, write down what you'd expect of each: the pair accuracy, and whether a reader can tell left from right by its embedding. At paper scale there's the one CLIP of the paper.

# %%
if scale.name == "mini":
    clips = {name: load_clip(name) for name in ("mini", "mini-lost", "mini-aligned")}
    clips = dict(zip(("hidden", "lost", "aligned"), clips.values(), strict=True))
else:
    clips = {scale.clip: clip}
found = {name: diagnose(bench, model) for name, model in clips.items()}
found["LLaVA"] = diagnose(bench, mllm=mllm)
groups = pd.concat({name: one.groups for name, one in found.items()}).droplevel(1)
groups[["verdict", "confidence", "pair", "relative", "cosine"]].round(3)

# %% [markdown]
# Look at `cosine` first: it's the same for all of them, so it can't be the evidence. This is:

# %% mystnb={"image": {"alt": "Three rows with a mark and a 95% interval for each model: pair accuracy of the answers, what a linear reader tells from one embedding, and what it tells from one image's patch tokens. The hidden CLIP has a low pair accuracy and a high reading of both; the lost one a reading of the embedding at chance and a high one of the tokens; the aligned one and LLaVA are high throughout."}}
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
# (The line at 50% is chance for the two readings; for the answers to pairs it's 25%.)
#
# Read it from the bottom. Do the patch tokens tell the images apart? If not, the encoder is blind and nothing above can help. Does the embedding? If not, pooling has lost it. Are the answers right? If not, the reader didn't ask. The verdict is the first stage that fails.
#
# Each verdict comes with something to try, and with the chapter that explains it:

# %%
for name, advice in groups.drop_duplicates("verdict")["advice"].items():
    print(f"{name}, {groups.loc[name, 'verdict']}: {advice}\n")

# %% [markdown]
# The whole report is a page that needs nothing but itself, with every pair, its pictures and its numbers. `python -m erragree_utils diagnose FOLDER --out FOLDER/report` writes the same:

# %%
report = page.write(dozen, pairs, folder / "report", "A dozen pairs")
sorted(path.name for path in report.parent.iterdir())

# %% [markdown]
# ## Doubt it
#
# Why believe any of this? The rules are ours, and so are their thresholds. What a diagnosis needs is what a blood test has: cases whose truth is known. So we built a *zoo*. Its members are the models of this book, as they are or broken on purpose: shown each picture averaged with its mirror image, so that left and right are gone; shown noise; given a habit of disliking some answers; with image tokens averaged or silenced on their way to the language model. Each was diagnosed on several kinds of change and several draws, 20 to 200 pairs at a time. What's below was recorded; the [zoo's code](https://github.com/erroneous-agreements/erroneous-agreements/blob/main/erragree_utils/training/zoo.py) makes it again. The rules were set on other draws, and on left and right alone.

# %%
zoo = zoo_record.recorded()
hundred = zoo[zoo["n_pairs"] == 100]
zoo_record.confusion(hundred[hundred["part"] == "clip"])  # truth by row, verdict by column

# %%
zoo_record.confusion(hundred[hundred["part"] == "mllm"])

# %% [markdown]
# On the diagonal a verdict is right. What lies off it is wrong or undecided, and deserves a look, member by member:

# %%
off = hundred[hundred["verdict"] != hundred["truth"]]
off[["member", "kind", "seed", "truth", "verdict", "confidence"]].round(3)

# %% [markdown]
# Two of the stories behind this table are worth telling. The hidden CLIP hides left and right of *B* less openly than those of A: which thing is named first decides what left means, and a reader needs some 200 pairs to pick that up. An earlier version of the rules took the weak reading for none and called the CLIP lost, with full confidence. The zoo caught it. And a model that sees nothing but noise is left undecided now and then, because by luck a reader does somewhat better than chance.

# %% [markdown]
# And how many pairs does it take? For each number, the share of verdicts that are right, with an interval over members and kinds of change, and the share of groups that get none:

# %%
zoo_record.by_size(zoo).round(3)

# %% [markdown]
# Few pairs cost verdicts rather than truth: that's what the intervals are for. Last, does a confidence keep its word? Verdicts of similar confidence, and the share of them that's right:

# %%
zoo_record.calibration(zoo).round(3)

# %% [markdown]
# ## Single images
#
# If you have images without a partner, leave `image_2` empty in the table. There's no difference to look for then, and `diagnose` refuses; what's left is accuracy:

# %%
singles = pairs.with_images([[pair.sources[0]] for pair in pairs])
as_percent(summarize(evaluate(clip, singles)))[["individual accuracy", "individual chance"]]

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
# The same low accuracy has several causes, and a hundred pairs of one kind are enough to tell them apart in models that we know inside out. A dozen pairs aren't, and a tool should say so rather than guess. The evidence is an order of questions, from the pixels to the answer, and the verdict is the place where the first one fails.
#
# What pays off differs from verdict to verdict. No decoding repairs a blind encoder; no better encoder repairs a prior. That's the practical side of the paper's argument: an {term}`erroneous agreement <Erroneous agreement>` of embeddings says little about which of these you have.
#
# ## What could be wrong
#
# - **The zoo is ours.** Its members are small, its faults are clean, and its pictures are rendered. A published model may have two faults at once, or half of one. The verdicts about your model have not been validated, only the rules.
# - **A reader that finds nothing proves little.** The rules ask whether it *would* have found a difference that was planted along one direction; a difference that is there in another form stays unseen. That's how a weakly hidden difference gets called lost.
# - **A reader that finds something** need not find what you meant. If all your left-hand images were taken in the morning, it reads the light. Vary what isn't asked about.
# - **A confidence** counts sampling alone. It knows nothing of rules that are wrong, so don't read 99% as a promise.
# - **Groups** are yours. Mix two kinds of change in one group, and its verdict is about neither.
#
# ## Exercises
#
# **1.** Your model gets the verdict *encoder blind* with 30 pairs. What do you do before you look for another encoder?
#
# ```{admonition} Solution
# :class: dropdown
# Get more pairs, and look at `tokens_power`: what the reader makes of a planted difference. Then ask the images at a higher resolution, if the difference is small.
# ```
#
# **2.** A colleague's table has all its true captions in `caption_1` and the images that fit them in `image_1`, and in each pair `image_1` is the left-hand one. What can go wrong?
#
# ```{admonition} Solution
# :class: dropdown
# Nothing in the scores, which never depend on the order. But whatever else differs between first and second images, such as the camera's settings, is then confounded with the side, and the reader may read that.
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
# **4.** Write a member of the zoo yourself: a model that sees every picture in shades of grey. What should it be called on pairs that differ in colour, and why is the truth less sure than it looks?
#
# ```{admonition} Solution
# :class: dropdown
# *Encoder blind*, if nothing but the hue differed. But white is lighter than black and yellow than blue, so grey pictures still tell many colours apart. To know a fault by construction takes care.
# ```
#
# ## In this chapter you learned
#
# - Where an answer is lost can be found by asking stage after stage, from tokens to embedding to answer.
# - A dozen pairs decide hardly anything; about a hundred of one kind do.
# - A diagnosis is worth what its test on known cases is worth, and no more.
#
# **Sources**: {cite:t}`li2024erroneous`; full entries under [References](../book/references.md).
